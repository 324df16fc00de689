"""Manage clients from the command line: `flask --app wsgi_auth clients ...`."""

import json
import math
from collections.abc import Iterable
from typing import Any

import click
from sqlalchemy import select

from auth_app.accounts.clients import (
    ASSERTION,
    CHOSEN_GRANT_TYPES,
    NONE,
    SECRET,
    add_client,
    change_client,
    find_client,
    remove_client,
    replace_secret,
)
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.cli.client_metadata import choose_grants, metadata_options, read_metadata, refresh_of
from auth_app.cli.console import EachChoice, Group, as_json, examples, require, show, show_one
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Client

LISTED = ("id", "name", "auth_method", "grant_types", "scopes", "resources")
SHOWN = (
    *LISTED,
    "redirect_uris",
    "post_logout_redirect_uris",
    "backchannel_logout_uri",
    "always_refresh",
    "jwks_uri",
    "previous_secret_expires_at",
)

group = Group(
    "clients", help="Register and manage clients: applications that users sign in to, and services."
)


@group.command(
    "add",
    epilog=examples(
        "clients add shop --scope courses:read --redirect-uri https://shop.example.com/callback",
        "clients add planner --public --scope courses:read --redirect-uri https://planner.example.com/",
        "clients add reports --scope courses:read",
    ),
)
@click.argument("client_id")
@metadata_options
@click.option(
    "--public",
    is_flag=True,
    help="The client has no secret, because it runs in a browser or on a user's device.",
)
@click.option(
    "--grant",
    "grants",
    type=EachChoice(list(CHOSEN_GRANT_TYPES)),
    multiple=True,
    help="Allow another grant. Repeatable. Without --redirect-uri, client_credentials is the default.",
)
@as_json
def add(client_id: str, public: bool, grants: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Register a client and print its secret, which cannot be shown again.

    With --redirect-uri, users can sign in to the client. Without it, the client is a service that gets its
    own tokens. Its tokens have the scopes that you name with --scope, and are for every service that is in
    RESOURCES now, unless you name some with --resource. A sign-in returns a refresh token on request, unless
    you set --refresh-token.
    """
    metadata = {"scopes": [], **read_metadata(options)}
    metadata.setdefault("resources", list(current_settings().audience))
    metadata["grant_types"] = choose_grants(metadata, grants, options["refresh_token"])
    has_keys = metadata.get("jwks") or metadata.get("jwks_uri")
    if public and has_keys:
        raise click.UsageError("A public client has no keys: omit --public, or --jwks and --jwks-uri.")
    auth_method = NONE if public else ASSERTION if has_keys else SECRET
    secret = add_client(client_id, auth_method, **metadata)
    db.session.commit()
    _show_secret(client_id, secret, as_json)


@group.command("set", epilog=examples("clients set shop --scope courses:read --scope enrolments:write"))
@click.argument("client_id")
@metadata_options
@click.option("--no-scope", is_flag=True, help="Remove all scopes.")
@click.option("--no-post-logout-redirect-uri", is_flag=True, help="Remove all post-logout redirect URIs.")
@click.option("--no-backchannel-logout-uri", is_flag=True, help="Stop sending logout notices.")
def set_(
    client_id: str,
    no_scope: bool,
    no_post_logout_redirect_uri: bool,
    no_backchannel_logout_uri: bool,
    **options: Any,
) -> None:
    """Change a client. Each option replaces a value; values without an option stay as they are.

    Removing a scope or a resource revokes the client's own tokens.
    """
    changes = read_metadata(options)
    removed: dict[str, tuple[bool, Any]] = {
        "scopes": (no_scope, []),
        "post_logout_redirect_uris": (no_post_logout_redirect_uri, []),
        "backchannel_logout_uri": (no_backchannel_logout_uri, None),
    }
    for name, (is_removed, nothing) in removed.items():
        if is_removed and name in changes:
            option = name.replace("_", "-").rstrip("s")
            raise click.UsageError(f"Give either --{option} or --no-{option}.")
        changes |= {name: nothing} if is_removed else {}
    if not changes:
        raise click.UsageError("Nothing to change: give at least one option (see --help).")
    client = _find(client_id)
    if options["refresh_token"] or "redirect_uris" in changes:
        grants = [grant for grant in client.grant_types if grant in CHOSEN_GRANT_TYPES]
        known = {"redirect_uris": client.redirect_uris, **changes}
        changes["grant_types"] = choose_grants(known, grants, options["refresh_token"] or refresh_of(client))
    change_client(client, changes)
    db.session.commit()
    click.echo(f"changed {client_id}")


@group.command("set-secret", epilog=examples("clients set-secret reports --overlap 3600"))
@click.argument("client_id")
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    default=86400,
    show_default=True,
    help="How long the previous secret stays valid.",
)
@as_json
def set_secret(client_id: str, overlap: int, as_json: bool) -> None:
    """Generate a new secret for a client and print it. It cannot be shown again."""
    secret = replace_secret(_find(client_id), overlap)
    db.session.commit()
    _show_secret(client_id, secret, as_json)


@group.command("show", epilog=examples("clients show reports"))
@click.argument("client_id")
@as_json
def show_client(client_id: str, as_json: bool) -> None:
    """Show a client, and how long its previous secret stays valid."""
    client = _find(client_id)
    show_one(_read_columns(client, SHOWN, as_json), as_json)


@group.command("list", epilog=examples("clients list --json"))
@as_json
def list_(as_json: bool) -> None:
    """List the clients."""
    clients = db.session.scalars(select(Client).where(Client.removed_at.is_(None)).order_by(Client.id))
    show((_read_columns(client, LISTED, as_json) for client in clients), LISTED, as_json)


@group.command("remove", epilog=examples("clients remove planner"))
@click.argument("client_id")
def remove(client_id: str) -> None:
    """Remove a client and end its sessions. Its ID is never reused."""
    remove_client(_find(client_id))
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    click.echo(f"removed {client_id}")


def _read_columns(client: Client, columns: Iterable[str], as_json: bool) -> dict[str, Any]:
    """Return a client's columns by name. Outside of JSON, scopes and resources without a limit are "all"."""
    row = {column: getattr(client, column) for column in columns}
    unlimited = {name for name in ("scopes", "resources") if row[name] is None}
    return row if as_json else row | dict.fromkeys(unlimited, "all")


def _find(client_id: str) -> Client:
    client: Client = require(find_client(client_id), "client", client_id)
    return client


def _show_secret(client_id: str, secret: str | None, as_json: bool) -> None:
    shown = {"client_id": client_id, "client_secret": secret}
    lines = (f"{name.ljust(15)}{value}" for name, value in shown.items() if value is not None)
    click.echo(json.dumps(shown) if as_json else "\n".join(lines))
