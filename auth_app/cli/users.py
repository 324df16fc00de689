"""Manage users from the command line: `flask --app wsgi_auth users ...`."""

import math
from typing import Any

import click
from sqlalchemy import select

from auth_app.accounts.passwords import is_password_hash
from auth_app.accounts.roles import DEFAULT_ROLE, ROLES
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.accounts.users import add_user, change_user, create_user, delete_user, find_user, reset_password
from auth_app.cli.console import EachChoice, Group, as_json, examples, read_secret, require, show
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

group = Group("users", help="Manage users, their roles and passwords.")
role = EachChoice(list(ROLES))


@group.command(
    "add",
    epilog=examples("echo 'correct horse battery' | flask --app wsgi_auth users add ada --role teacher"),
)
@click.argument("username")
@click.option(
    "--role",
    "roles",
    type=role,
    multiple=True,
    default=[DEFAULT_ROLE],
    show_default=True,
    help="Role of the user. Repeatable.",
)
@click.option(
    "--hashed",
    is_flag=True,
    help="Read a password hash instead of a password: argon2, or scrypt or pbkdf2 of werkzeug.",
)
@click.option("--name", help="Full name, for applications.")
@click.option("--email", help="Email address, for applications.")
@click.option("--email-verified", is_flag=True, help="Mark the email address as verified.")
def add(username: str, roles: tuple[str, ...], hashed: bool, **profile: Any) -> None:
    """Add a user. Prompts for the password, or reads it from standard input."""
    secret = read_secret("Hash" if hashed else "Password")
    if hashed and not is_password_hash(secret):
        raise click.ClickException(
            "This is not an argon2, scrypt or pbkdf2 hash that this server can verify."
        )
    user = (add_user if hashed else create_user)(username, secret, list(roles), **profile)
    db.session.commit()
    click.echo(f"added {user.username}, {user.id}")


@group.command("list", epilog=examples("users list --json"))
@as_json
def list_(as_json: bool) -> None:
    """List the users by name."""
    users = select(User).where(User.deleted_at.is_(None)).order_by(User.username)
    show(map(_row, db.session.scalars(users)), COLUMNS, as_json)


@group.command("show", epilog=examples("users show ada"))
@click.argument("username")
@as_json
def show_user(username: str, as_json: bool) -> None:
    """Show a user."""
    show([_row(_find(username))], COLUMNS, as_json)


@group.command(
    "set", epilog=examples("users set ada --name 'Ada Lovelace' --email ada@example.com --email-verified")
)
@click.argument("username")
@click.option("--name", help="Full name, for applications.")
@click.option("--no-name", is_flag=True, help="Remove the name.")
@click.option("--email", help="Email address, for applications. Unverified unless you add --email-verified.")
@click.option("--no-email", is_flag=True, help="Remove the email address.")
@click.option(
    "--email-verified/--no-email-verified",
    default=None,
    help="Mark the email address as verified or unverified.",
)
def set_(username: str, no_name: bool, no_email: bool, **options: Any) -> None:
    """Change a user's name and email address. Values without an option stay as they are."""
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


@group.command(
    "set-password",
    epilog=examples(
        "echo 'a longer passphrase' | flask --app wsgi_auth users set-password ada --must-change"
    ),
)
@click.argument("username")
@click.option(
    "--must-change/--no-must-change", help="Require the user to choose another password at the next login."
)
def set_password(username: str, must_change: bool) -> None:
    """Set a user's password and end their sessions. Prompts for it, or reads it from standard input."""
    reset_password(_find(username), read_secret("New password"), must_change=must_change)
    _commit()
    click.echo(f"changed the password of {username} and ended all sessions")


@group.command("set-roles", epilog=examples("users set-roles ada teacher admin"))
@click.argument("username")
@click.argument("roles", type=role, nargs=-1)
def set_roles(username: str, roles: tuple[str, ...]) -> None:
    """Replace a user's roles. Losing a role ends the user's sessions."""
    change_user(_find(username), roles=list(roles))
    _commit()
    click.echo(f"{username} now has {'the roles ' + ' '.join(roles) if roles else 'no roles'}")


@group.command("disable", epilog=examples("users disable ada"))
@click.argument("username")
def disable(username: str) -> None:
    """Block a user from logging in, and end their sessions."""
    change_user(_find(username), is_disabled=True)
    _commit()
    click.echo(f"disabled {username} and ended all sessions")


@group.command("enable", epilog=examples("users enable ada"))
@click.argument("username")
def enable(username: str) -> None:
    """Allow a disabled user to log in again."""
    change_user(_find(username), is_disabled=False)
    _commit()
    click.echo(f"enabled {username}")


@group.command("delete", epilog=examples("users delete ada"))
@click.argument("username")
def delete(username: str) -> None:
    """Delete a user for good, and end their sessions. The name can be used again; the ID cannot."""
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
