"""Generate, list, rotate and revoke signing keys from the command line: `flask --app wsgi_auth keys ...`."""

from typing import Any

import click

from auth_app import audit
from auth_app.cli.console import Group, as_json, examples, show
from auth_app.current import current_settings
from auth_app.keys import rotation
from auth_app.keys.revoked_keys import read_record, record_revocation
from auth_app.keys.signing_key import NEW_VARIABLES

COLUMNS = ("kid", "state", "since_at", "until_at")


class KeyGroup(Group):
    """A group of commands on files, which also turns `OSError` into a one-line error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'a file'}: {error.strerror}") from None


group = KeyGroup("keys", help="Generate, rotate and revoke signing keys.")


@group.command("generate", epilog=examples("keys generate"))
def generate() -> None:
    """Generate the first key pair (JWT_PRIVATE_KEY_FILE, JWT_PUBLIC_KEY_FILE). Never overwrites a file."""
    settings = current_settings()
    revoked = read_record(settings.revoked_keys_file)
    kid = rotation.generate_key_pair(settings.jwt_private_key_file, settings.jwt_public_key_file, revoked)
    audit.record("key_generated", kid=kid)
    click.echo(f"wrote {settings.jwt_private_key_file} (keep it secret) and {settings.jwt_public_key_file}")


@group.command("list", epilog=examples("keys list"))
@as_json
def list_keys(as_json: bool) -> None:
    """List the published keys: the active one, the next one, and those that are retiring."""
    rows = list(map(_row, rotation.list_keys(current_settings())))
    show(rows, COLUMNS, as_json)


@group.command("rotate", epilog=examples("keys rotate"))
def rotate() -> None:
    """Take the next step of a key rotation.

    The first run publishes a new key. The second run, JWKS_MAX_AGE later, makes it sign; the old key verifies
    until its last token has expired. Run the command as the user that auth_app runs as.
    """
    settings = current_settings()
    state = rotation.rotate(settings)
    kid = next(key.kid for key in rotation.list_keys(settings) if key.state == state)
    audit.record("key_published" if state == rotation.NEXT else "key_activated", kid=kid)
    if state == rotation.NEXT:
        wait = settings.jwks_max_age + rotation.PROPAGATION
        click.echo(f"published {kid}: run this again in {wait} seconds, when every service knows the key")
    else:
        click.echo(f"{kid} signs now; tokens that the old key signed stay valid until they expire")


@group.command(
    "revoke",
    context_settings={"ignore_unknown_options": True},  # a `kid` may begin with a dash
    epilog=examples("keys revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
)
@click.argument("kid")
def revoke(kid: str) -> None:
    """Revoke a key for good, and with it every token that it signed.

    A new key replaces it if it is the active one. You can repeat the command, and run it for a key that is in
    no file, such as one that a restored backup could bring back.
    """
    settings = current_settings()
    record_revocation(settings.revoked_keys_file, kid)
    audit.record("key_revoked", kid=kid)
    click.echo(f"revoked {kid}")
    click.echo(
        f"auth_app refuses it now, and services refuse it when they next fetch the key set, within "
        f"{settings.jwks_max_age} seconds; services with a JWT_PUBLIC_KEY need a new value and a restart"
    )
    if rotation.uses_variables(settings):
        click.echo(f"if a variable holds the key: {NEW_VARIABLES}")
    elif kid not in rotation.drop_revoked_keys(settings):
        click.echo("no key file holds it; it stays refused if it reappears, for example from a backup")


def _row(key: rotation.Key) -> dict[str, object]:
    is_retiring = key.state == rotation.RETIRING
    return {
        "kid": key.kid,
        "state": "revoked" if key.revoked_at else key.state,
        "since_at": key.revoked_at or (None if is_retiring else key.time),
        "until_at": key.time if is_retiring and not key.revoked_at else None,
    }
