"""Manage sessions from the command line: `flask --app wsgi_auth sessions ...`."""

import time
import uuid

import click
from sqlalchemy import select

from auth_app.accounts import find_user
from auth_app.cli.console import Group, as_json, found, show
from auth_app.database import db
from auth_app.models import Session
from auth_app.sessions import revoke_sessions

COLUMNS = ("id", "username", "client_id", "scope", "created_at", "expires_at")

group = Group("sessions", help="See and end logins.")


@group.command("list")
@click.option("--user", "username", help="Only those of this user.")
@as_json
def list_(username: str | None, as_json: bool) -> None:
    """List the live sessions, oldest first."""
    live = select(Session).where(Session.revoked_at.is_(None), Session.expires_at > int(time.time()))
    if username:
        live = live.where(Session.user_id == found(find_user(username), f"user {username}").id)
    sessions = db.session.scalars(live.order_by(Session.created_at, Session.id))
    show(map(_row, sessions), COLUMNS, as_json)


@group.command("revoke")
@click.argument("session_id", type=click.UUID, required=False)
@click.option("--user", "username", help="End all sessions of this user.")
@click.option("--all", "is_all", is_flag=True, help="End all sessions of everybody.")
def revoke(session_id: uuid.UUID | None, username: str | None, is_all: bool) -> None:
    """End one session, all of a user, or all."""
    if (session_id is not None) + (username is not None) + is_all != 1:
        raise click.UsageError("Give either a session's ID, --user or --all.")
    if is_all:
        ended = revoke_sessions()
    elif username:
        ended = revoke_sessions(Session.user_id == found(find_user(username), f"user {username}").id)
    else:
        ended = found(revoke_sessions(Session.id == session_id) or None, f"live session {session_id}")
    click.echo(f"ended {ended} session{'' if ended == 1 else 's'}")


def _row(session: Session) -> dict[str, object]:
    return {column: getattr(session.user if column == "username" else session, column) for column in COLUMNS}
