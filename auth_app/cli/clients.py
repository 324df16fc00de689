"""Manage clients from the command line: `flask --app wsgi_auth clients ...`."""

import json
import math
from collections.abc import Callable
from typing import IO, Any

import click
from sqlalchemy import select

from auth_app.accounts.clients import (
    ASSERTION,
    NONE,
    SECRET,
    add_client,
    change_client,
    find_client,
    remove_client,
    replace_secret,
)
from auth_app.accounts.roles import SCOPES
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.cli.console import EachChoice, Group, as_json, require, show, show_one
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
# When a sign-in gives a refresh token: by grant types and `always_refresh`.
REFRESH = ("never", "on-request", "always")

group = Group("clients", help="Manage clients: applications that people sign in to, and services.")


def _metadata_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that both `add` and `set` have."""
    once = "Once for each."
    options = (
        click.option("--name", help="What people are told when they sign in; the ID, if left out."),
        click.option(
            "--redirect-uri", "redirect_uris", multiple=True, help=f"Where people return to. {once}"
        ),
        click.option(
            "--post-logout-redirect-uri",
            "post_logout_redirect_uris",
            multiple=True,
            help=f"Where people may return to after they have signed out. {once}",
        ),
        click.option(
            "--backchannel-logout-uri", help="Where to tell the application that a login has ended."
        ),
        click.option(
            "--refresh-token",
            type=click.Choice(REFRESH),
            help="When a sign-in gives a refresh token: never, when it asks for offline_access, or always.",
        ),
        click.option("--jwks", type=click.File("rb"), help="The key set of a client that signs assertions."),
        click.option("--jwks-uri", help="Where that key set is."),
        click.option(
            "--scope",
            "scopes",
            type=EachChoice(sorted(SCOPES)),
            multiple=True,
            help=f"A scope of the API that its tokens may have. {once}",
        ),
        click.option(
            "--resource", "resources", multiple=True, help=f"A server that its tokens are for. {once}"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@group.command("add")
@click.argument("client_id")
@_metadata_options
@click.option("--public", is_flag=True, help="It runs on its users' machines, and can keep no secret.")
@click.option(
    "--grant",
    "grants",
    type=EachChoice(["client_credentials", "password"]),
    multiple=True,
    help="How else it gets tokens; client_credentials for one without redirect URIs.",
)
@as_json
def add(client_id: str, public: bool, grants: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Add a client and print its secret, which cannot be shown again.

    With --redirect-uri people can sign in to it. Without, it is a service that gets tokens of its own. All
    servers, unless --resource names some; no scopes but those that --scope names.
    """
    metadata = {"scopes": [], **_read_metadata(options)}
    metadata.setdefault("resources", list(current_settings().audience))
    metadata["grant_types"] = _choose_grants(metadata, grants, options["refresh_token"])
    has_keys = metadata.get("jwks") or metadata.get("jwks_uri")
    if public and has_keys:
        raise click.UsageError("A public client has no keys: leave out --public.")
    auth_method = NONE if public else ASSERTION if has_keys else SECRET
    secret = add_client(client_id, auth_method, **metadata)
    db.session.commit()
    _show_secret(client_id, secret, as_json)


@group.command("set")
@click.argument("client_id")
@_metadata_options
@click.option("--no-scope", is_flag=True, help="Take all scopes away.")
@click.option("--no-post-logout-redirect-uri", is_flag=True, help="Take all of these URIs away.")
@click.option("--no-backchannel-logout-uri", is_flag=True, help="Stop back-channel logout.")
def set_(
    client_id: str,
    no_scope: bool,
    no_post_logout_redirect_uri: bool,
    no_backchannel_logout_uri: bool,
    **options: Any,
) -> None:
    """Replace what the options name. What is left out stays as it is."""
    changes = _read_metadata(options)
    removed: dict[str, tuple[bool, Any]] = {
        "scopes": (no_scope, []),
        "post_logout_redirect_uris": (no_post_logout_redirect_uri, []),
        "backchannel_logout_uri": (no_backchannel_logout_uri, None),
    }
    for name, (is_removed, nothing) in removed.items():
        if is_removed and name in changes:
            raise click.UsageError(f"Give --{name.replace('_', '-').rstrip('s')} or the same with --no-.")
        changes |= {name: nothing} if is_removed else {}
    if not changes:
        raise click.UsageError("Say what to change: see --help.")
    client = _find(client_id)
    if options["refresh_token"] or "redirect_uris" in changes:
        grants = [grant for grant in client.grant_types if grant in {"client_credentials", "password"}]
        known = {"redirect_uris": client.redirect_uris, **changes}
        changes["grant_types"] = _choose_grants(
            known, grants, options["refresh_token"] or _refresh_of(client)
        )
    change_client(client, changes)
    db.session.commit()
    click.echo(f"changed {client_id}")


@group.command("set-secret")
@click.argument("client_id")
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=86400,
    show_default=True,
    help="Seconds for which the secret before is accepted too.",
)
@as_json
def set_secret(client_id: str, overlap: int, as_json: bool) -> None:
    """Give a client another secret and print it; it cannot be shown again."""
    secret = replace_secret(_find(client_id), overlap)
    db.session.commit()
    _show_secret(client_id, secret, as_json)


@group.command("show")
@click.argument("client_id")
@as_json
def show_client(client_id: str, as_json: bool) -> None:
    """Show one client, and until when the secret before its last change is accepted."""
    client = _find(client_id)
    show_one({column: getattr(client, column) for column in SHOWN}, as_json)


@group.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the clients."""
    clients = db.session.scalars(select(Client).where(Client.removed_at.is_(None)).order_by(Client.id))
    rows = ({column: getattr(client, column) for column in LISTED} for client in clients)
    show(rows, LISTED, as_json)


@group.command("remove")
@click.argument("client_id")
def remove(client_id: str) -> None:
    """Remove a client, and end the sessions that it holds."""
    remove_client(_find(client_id))
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    click.echo(f"removed {client_id}")


def _find(client_id: str) -> Client:
    client: Client = require(find_client(client_id), "client", client_id)
    return client


def _read_metadata(options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of `Client` that the options set."""
    lists = ("redirect_uris", "post_logout_redirect_uris", "scopes", "resources")
    metadata: dict[str, Any] = {name: list(options[name]) for name in lists if options[name]}
    for name in ("name", "backchannel_logout_uri", "jwks_uri"):
        metadata |= {name: options[name]} if options[name] else {}
    if options["jwks"] and options["jwks_uri"]:
        raise click.UsageError("Give --jwks or --jwks-uri, not both.")
    if options["jwks"]:
        metadata |= {"jwks": _read_jwks(options["jwks"]), "jwks_uri": None}
    elif options["jwks_uri"]:
        metadata |= {"jwks": None}
    if when := options["refresh_token"]:
        metadata["always_refresh"] = when == "always"
    _check_resources(metadata.get("resources", []))
    return metadata


def _choose_grants(metadata: dict[str, Any], grants: Any, refresh: str | None) -> list[str]:
    chosen = set(grants) or (set() if metadata.get("redirect_uris") else {"client_credentials"})
    if metadata.get("redirect_uris"):
        chosen.add("authorization_code")
    if chosen & {"authorization_code", "password"} and refresh != "never":
        chosen.add("refresh_token")
    return sorted(chosen)


def _refresh_of(client: Client) -> str:
    return "on-request" if "refresh_token" in client.grant_types or not client.redirect_uris else "never"


def _read_jwks(file: IO[bytes]) -> dict[str, Any]:
    try:
        jwks = json.loads(file.read())
    except ValueError:
        jwks = None
    if not isinstance(jwks, dict):
        raise click.ClickException(
            f"{file.name} is not a JWK Set: give the public keys as JSON, with `keys`."
        )
    return jwks


def _check_resources(resources: list[str]) -> None:
    audience = current_settings().audience
    if unknown := set(resources) - set(audience):
        raise click.ClickException(
            f"{min(unknown)} is not one of {', '.join(audience)}: add it to RESOURCES first, and give "
            "--resource once for each URL"
        )


def _show_secret(client_id: str, secret: str | None, as_json: bool) -> None:
    shown = {"client_id": client_id, "client_secret": secret}
    lines = (f"{name.ljust(15)}{value}" for name, value in shown.items() if value is not None)
    click.echo(json.dumps(shown) if as_json else "\n".join(lines))
