"""Make signing keys from the command line: `flask --app wsgi_auth keys ...`."""

import click
from flask import current_app

from auth_app import audit
from auth_app.cli.console import Group
from auth_app.settings import AuthSettings
from auth_app.signing_key import generate_key_pair

group = Group("keys", help="Make signing keys.")


@group.command("generate")
def generate() -> None:
    """Write a new key pair to the files that the settings name."""
    settings: AuthSettings = current_app.extensions["settings"]
    try:
        kid = generate_key_pair(settings.jwt_private_key_file, settings.jwt_public_key_file)
    except OSError as error:
        raise click.ClickException(f"no key pair was made: {error}") from None
    audit.record("key_generated", kid=kid)
    click.echo(f"wrote {settings.jwt_private_key_file} (keep it secret) and {settings.jwt_public_key_file}")
