"""Manage clients from the command line: `flask --app wsgi_auth clients ...`."""

import json
import math

import click
from sqlalchemy import select

from auth_app.accounts.clients import add_client, change_client, find_client, remove_client, replace_secret
from auth_app.accounts.roles import SCOPES
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.cli.console import EachChoice, Group, as_json, require, show
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Client

COLUMNS = ("id", "scopes", "resources")

group = Group("clients", help="Manage confidential clients: services that get tokens of their own.")


scope_option = click.option(
    "--scope", "scopes", type=EachChoice(sorted(SCOPES)), multiple=True, help="Once for each scope."
)


@group.command("add")
@click.argument("client_id")
@scope_option
@click.option(
    "--resource", "resources", multiple=True, help="Whom its tokens are for, once for each; all, if left out."
)
@as_json
def add(client_id: str, scopes: tuple[str, ...], resources: tuple[str, ...], as_json: bool) -> None:
    """Add a client and print its secret, which cannot be shown again."""
    _check_resources(resources)
    secret = add_client(client_id, list(scopes), list(resources or current_settings().audience))
    db.session.commit()
    _show_secret(client_id, secret, as_json)


@group.command("set")
@click.argument("client_id")
@scope_option
@click.option("--no-scope", is_flag=True, help="Take all scopes away.")
@click.option("--resource", "resources", multiple=True, help="Whom its tokens are for, once for each.")
def set_(client_id: str, scopes: tuple[str, ...], no_scope: bool, resources: tuple[str, ...]) -> None:
    """Give a client these scopes and resources and no others. What is left out stays as it is."""
    if bool(scopes) + no_scope > 1 or not (scopes or no_scope or resources):
        raise click.UsageError("Give --scope or --no-scope, --resource, or both.")
    _check_resources(resources)
    client = _find(client_id)
    change_client(
        client,
        scopes=list(scopes) if scopes or no_scope else None,
        resources=list(resources) if resources else None,
    )
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
    columns = (*COLUMNS, "previous_secret_expires_at")
    client = _find(client_id)
    show([{column: getattr(client, column) for column in columns}], columns, as_json)


@group.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the clients."""
    clients = db.session.scalars(select(Client).where(Client.removed_at.is_(None)).order_by(Client.id))
    show(({column: getattr(client, column) for column in COLUMNS} for client in clients), COLUMNS, as_json)


@group.command("remove")
@click.argument("client_id")
def remove(client_id: str) -> None:
    """Remove a client, and end the sessions that it holds."""
    remove_client(_find(client_id))
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    click.echo(f"removed {client_id}")


def _find(client_id: str) -> Client:
    client: Client = require(find_client(client_id), f"client {client_id}")
    return client


def _check_resources(resources: tuple[str, ...]) -> None:
    audience = current_settings().audience
    if unknown := set(resources) - set(audience):
        raise click.ClickException(
            f"{min(unknown)} is not one of {', '.join(audience)}: add it to RESOURCES first, and give "
            "--resource once for each URL"
        )


def _show_secret(client_id: str, secret: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "client_secret": secret}))
    else:
        click.echo(f"client_id      {client_id}\nclient_secret  {secret}")
