"""Manage users from the command line: `flask --app wsgi_auth users ...`."""

import math
from typing import Any

import click
from sqlalchemy import select

from auth_app.accounts.passwords import is_password_hash
from auth_app.accounts.roles import DEFAULT_ROLE, ROLES
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.accounts.users import add_user, change_user, create_user, delete_user, find_user, reset_password
from auth_app.cli.console import EachChoice, Group, as_json, read_secret, require, show
from auth_app.database import db
from auth_app.models import User

COLUMNS = (
    "id",
    "username",
    "name",
    "email",
    "email_verified",
    "roles",
    "is_disabled",
    "must_change_password",
    "last_login_at",
    "updated_at",
)

group = Group("users", help="Manage users.")
role = EachChoice(list(ROLES))


@group.command("add")
@click.argument("username")
@click.option("--role", "roles", type=role, multiple=True, default=[DEFAULT_ROLE], show_default=True)
@click.option("--hashed", is_flag=True, help="Read a hash of argon2 or werkzeug instead of a password.")
@click.option("--name", help="What applications call the user.")
@click.option("--email", help="The user's email address.")
@click.option("--email-verified", is_flag=True, help="You know that the address is the user's.")
def add(username: str, roles: tuple[str, ...], hashed: bool, **profile: Any) -> None:
    """Add a user. The password is asked for, or read from standard input."""
    secret = read_secret("Hash" if hashed else "Password")
    if hashed and not is_password_hash(secret):
        raise click.ClickException(
            "This is not an argon2, scrypt or pbkdf2 hash that this server can verify."
        )
    user = (add_user if hashed else create_user)(username, secret, list(roles), **profile)
    db.session.commit()
    click.echo(f"added {user.username}, {user.id}")


@group.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the users in the order of their names."""
    users = select(User).where(User.deleted_at.is_(None)).order_by(User.username)
    show(map(_row, db.session.scalars(users)), COLUMNS, as_json)


@group.command("show")
@click.argument("username")
@as_json
def show_user(username: str, as_json: bool) -> None:
    """Show one user."""
    show([_row(_find(username))], COLUMNS, as_json)


@group.command("set")
@click.argument("username")
@click.option("--name", help="What applications call the user.")
@click.option("--no-name", is_flag=True, help="Take the name away.")
@click.option("--email", help="The user's email address; unverified, unless --email-verified is given too.")
@click.option("--no-email", is_flag=True, help="Take the email address away.")
@click.option(
    "--email-verified/--no-email-verified", default=None, help="Whether you know that it is the user's."
)
def set_(username: str, no_name: bool, no_email: bool, **options: Any) -> None:
    """Set a user's name and email address. What is left out stays as it is."""
    changes = {name: value for name, value in options.items() if value is not None}
    for name, is_removed in (("name", no_name), ("email", no_email)):
        if is_removed and name in changes:
            raise click.UsageError(f"Give either --{name} or --no-{name}.")
        changes |= {name: None} if is_removed else {}
    if not changes:
        raise click.UsageError("Nothing to change: give at least one option (see --help).")
    change_user(_find(username), **changes)
    _commit()
    click.echo(f"changed {username}")


@group.command("set-password")
@click.argument("username")
@click.option(
    "--must-change/--no-must-change", help="Have the user choose another password at the next login."
)
def set_password(username: str, must_change: bool) -> None:
    """Give a user a new password, and end all sessions. It is asked for, or read from standard input."""
    reset_password(_find(username), read_secret("New password"), must_change=must_change)
    _commit()
    click.echo(f"changed the password of {username} and ended all sessions")


@group.command("set-roles")
@click.argument("username")
@click.argument("roles", type=role, nargs=-1)
def set_roles(username: str, roles: tuple[str, ...]) -> None:
    """Give a user these roles and no others."""
    change_user(_find(username), roles=list(roles))
    _commit()
    click.echo(f"{username} now has {'the roles ' + ' '.join(roles) if roles else 'no roles'}")


@group.command("disable")
@click.argument("username")
def disable(username: str) -> None:
    """Let a user log in no longer, and end all sessions."""
    change_user(_find(username), is_disabled=True)
    _commit()
    click.echo(f"disabled {username} and ended all sessions")


@group.command("enable")
@click.argument("username")
def enable(username: str) -> None:
    """Let a user log in again."""
    change_user(_find(username), is_disabled=False)
    _commit()
    click.echo(f"enabled {username}")


@group.command("delete")
@click.argument("username")
def delete(username: str) -> None:
    """Delete a user for good, and end all sessions. The name is free again; the ID is never used again."""
    delete_user(_find(username))
    _commit()
    click.echo(f"deleted {username} and ended all sessions")


def _commit() -> None:
    """Commit, and set the status bits of all sessions that have ended."""
    db.session.commit()
    set_pending_bits(seconds=math.inf)


def _find(username: str) -> User:
    user: User = require(find_user(username), "user", username)
    return user


def _row(user: User) -> dict[str, object]:
    return {column: getattr(user, column) for column in COLUMNS}
