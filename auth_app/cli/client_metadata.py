"""Define and parse the options that `clients add` and `clients set` share (RFC 7591 section 2)."""

import json
from collections.abc import Callable, Iterable
from typing import IO, Any

import click

from auth_app.accounts.roles import SCOPES
from auth_app.cli.console import EachChoice
from auth_app.current import current_settings
from auth_app.models import Client

# When a sign-in gets a refresh token. Stored as grant types and `always_refresh`.
_REFRESH = ("never", "on-request", "always")


def metadata_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command, as a decorator."""
    once = "Repeatable."
    options = (
        click.option("--name", help="Name that the sign-in page shows instead of the client's ID."),
        click.option(
            "--redirect-uri",
            "redirect_uris",
            multiple=True,
            help=f"URL that users return to after signing in. {once}",
        ),
        click.option(
            "--post-logout-redirect-uri",
            "post_logout_redirect_uris",
            multiple=True,
            help=f"URL that users may return to after signing out. {once}",
        ),
        click.option("--backchannel-logout-uri", help="URL that receives a notice when a session ends."),
        click.option(
            "--refresh-token",
            type=click.Choice(_REFRESH),
            help="When a sign-in returns a refresh token; on-request: if the client requests offline_access.",
        ),
        click.option(
            "--jwks",
            type=click.File("rb"),
            help="JWK Set file with the public keys of a client that signs assertions.",
        ),
        click.option("--jwks-uri", help="URL of that JWK Set, instead of a file."),
        click.option(
            "--scope",
            "scopes",
            type=EachChoice(sorted(SCOPES)),
            multiple=True,
            help=f"Scope that the client's tokens may have. {once}",
        ),
        click.option(
            "--resource",
            "resources",
            multiple=True,
            help=f"URL of a service that the client's tokens may be for. {once}",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_metadata(options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of `Client` that the options set. Raises `click.ClickException`."""
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


def choose_grants(metadata: dict[str, Any], grants: Iterable[str], refresh: str | None) -> list[str]:
    """Return a client's grant types: the chosen ones, and those that follow from its other options.

    `refresh` is a value of `--refresh-token`.
    """
    chosen = set(grants) or (set() if metadata.get("redirect_uris") else {"client_credentials"})
    if metadata.get("redirect_uris"):
        chosen.add("authorization_code")
    if chosen & {"authorization_code", "password"} and refresh != "never":
        chosen.add("refresh_token")
    return sorted(chosen)


def refresh_of(client: Client) -> str:
    """Return a client's current value of `--refresh-token`; "always" counts as "on-request"."""
    return "on-request" if "refresh_token" in client.grant_types or not client.redirect_uris else "never"


def _read_jwks(file: IO[bytes]) -> dict[str, Any]:
    try:
        jwks = json.loads(file.read())
    except ValueError:
        jwks = None
    if not isinstance(jwks, dict):
        raise click.ClickException(
            f"{file.name} is not a JWK Set: it must be a JSON object with the public keys in `keys`."
        )
    return jwks


def _check_resources(resources: list[str]) -> None:
    audience = current_settings().audience
    if unknown := set(resources) - set(audience):
        raise click.ClickException(
            f"{min(unknown)} is not one of {', '.join(audience)}: add it to RESOURCES first, and repeat "
            "--resource for each URL"
        )
