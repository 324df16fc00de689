"""Manage clients from the command line: `flask --app wsgi_auth clients ...`."""

import json
import math

import click
from sqlalchemy import select

from auth_app.cli.console import Group, as_json, found, show
from auth_app.clients import add_client, find_client, remove_client
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Client
from auth_app.roles import SCOPES
from auth_app.session_ends import set_pending_bits

COLUMNS = ("id", "scopes", "resources")

group = Group("clients", help="Manage confidential clients: services that get tokens of their own.")


@group.command("add")
@click.argument("client_id")
@click.option(
    "--scope", "scopes", type=click.Choice(sorted(SCOPES)), multiple=True, help="May be given again."
)
@click.option("--resource", "resources", multiple=True, help="Whom its tokens are for; all, if left out.")
@as_json
def add(client_id: str, scopes: tuple[str, ...], resources: tuple[str, ...], as_json: bool) -> None:
    """Add a client and print its secret, which cannot be shown again."""
    audience = current_settings().audience
    unknown = set(resources) - set(audience)
    if unknown:
        raise click.ClickException(
            f"{min(unknown)} is not one of {' '.join(audience)}: add it to RESOURCES first"
        )
    secret = add_client(client_id, list(scopes), list(resources or audience))
    db.session.commit()
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "client_secret": secret}))
    else:
        click.echo(f"client_id      {client_id}\nclient_secret  {secret}")


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
    remove_client(found(find_client(client_id), f"client {client_id}"))
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    click.echo(f"removed {client_id}")
