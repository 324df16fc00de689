"""Manage sessions from the command line: `flask --app wsgi_auth sessions ...`."""

import math
import time
import uuid

import click
from sqlalchemy import ColumnElement, func, select

from auth_app.accounts.session_ends import end_all_sessions, end_session, end_user_sessions, set_pending_bits
from auth_app.accounts.sessions import LIVE
from auth_app.accounts.users import find_user
from auth_app.cli.console import Group, as_json, examples, require, show
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session

COLUMNS = ("id", "username", "client_id", "scope", "created_at", "expires_at")

group = Group("sessions", help="List and revoke sessions.")


@group.command("list", epilog=examples("sessions list --user student1"))
@click.option("--user", "username", help="List only this user's sessions.")
@as_json
def list_(username: str | None, as_json: bool) -> None:
    """List the live sessions, oldest first."""
    live = select(Session).where(LIVE)
    if username:
        live = live.where(Session.user_id == require(find_user(username), "user", username).id)
    sessions = db.session.scalars(live.order_by(Session.created_at, Session.id), {"now": int(time.time())})
    show(map(_row, sessions), COLUMNS, as_json)


@group.command("revoke", epilog=examples("sessions revoke --user student1"))
@click.argument("session_id", type=click.UUID, required=False)
@click.option("--user", "username", help="End all sessions of this user.")
@click.option(
    "--all", "is_all", is_flag=True, help="End all sessions of all users, and sign every browser out."
)
def revoke(session_id: uuid.UUID | None, username: str | None, is_all: bool) -> None:
    """End one session by its ID, or all sessions of a user, or all sessions."""
    if (session_id is not None) + (username is not None) + is_all != 1:
        raise click.UsageError("Give exactly one of SESSION_ID, --user and --all.")
    now = {"now": int(time.time())}
    if session_id:
        session = require(
            db.session.scalar(select(Session).where(Session.id == session_id, LIVE), now),
            "session",
            session_id,
        )
        end_session(session.id, user=session.user_id, client=session.client_id)
        count = 1
    elif username:
        user = require(find_user(username), "user", username)
        count = _count(Session.user_id == user.id)
        end_user_sessions(user)
    else:
        count = _count()
        end_all_sessions()
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    click.echo(f"ended {count} session{'' if count == 1 else 's'}")
    if count:
        ttl = current_settings().status_list_ttl
        click.echo(f"auth_app refuses their tokens now, and other services refuse them within {ttl} seconds")


def _count(*which: ColumnElement[bool]) -> int:
    live = select(func.count(Session.id)).where(LIVE, *which)
    return db.session.scalars(live, {"now": int(time.time())}).one()


def _row(session: Session) -> dict[str, object]:
    username = session.user.username if session.user else None
    return {column: username if column == "username" else getattr(session, column) for column in COLUMNS}
