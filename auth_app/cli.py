"""Commands of the authorization server: `flask --app wsgi_auth ...`."""

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

from auth_app.database import db
from auth_app.models import User
from auth_app.passwords import hash_password
from auth_app.settings import AuthSettings
from auth_app.signing_key import generate_key_pair

keys = AppGroup("keys", help="Make signing keys.")

DEMO_USERS = {"student1": ("password123", "student"), "teacher1": ("password456", "teacher")}


def init_app(app: Flask) -> None:
    """Give `app` its commands."""
    app.cli.add_command(keys)
    app.cli.add_command(add_demo_users)


@keys.command("generate")
def generate_keys() -> None:
    """Write a new key pair to the files that the settings name."""
    settings: AuthSettings = current_app.extensions["settings"]
    try:
        generate_key_pair(settings.jwt_private_key_file, settings.jwt_public_key_file)
    except OSError as error:
        raise click.ClickException(f"no key pair was made: {error}") from None
    click.echo(f"wrote {settings.jwt_private_key_file} (keep it secret) and {settings.jwt_public_key_file}")


@click.command("demo-data")
@with_appcontext
def add_demo_users() -> None:
    """Add the demo users that are not there yet."""
    for username, (password, role) in DEMO_USERS.items():
        if db.session.scalar(select(User).where(User.username == username)) is None:
            db.session.add(User(username=username, password_hash=hash_password(password), roles=[role]))
    db.session.commit()
