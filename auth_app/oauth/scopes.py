"""Decide which scopes and resource servers a login may have, from user, client and request."""

from collections.abc import Iterable

from auth_app.accounts.clients import scopes_of_client
from auth_app.accounts.roles import IDENTITY_SCOPES, scopes_of
from auth_app.current import current_settings
from auth_app.errors import InvalidTarget
from auth_app.models import Client, User


def allowed_scopes(user: User, client: Client) -> frozenset[str]:
    """Return the scopes that a user can grant to a client: those that both have, and the identity scopes."""
    scopes = (scopes_of(user.roles) & scopes_of_client(client)) | IDENTITY_SCOPES
    return scopes if "refresh_token" in client.grant_types else scopes - {"offline_access"}


def narrow_audience(allowed: Iterable[str], resources: list[str] | None) -> list[str]:
    """Return the requested resource servers, or all allowed ones without a request (RFC 8707 section 2).

    Raises `InvalidTarget` if one of them is not allowed, or none is left.
    """
    known = [server for server in current_settings().audience if server in allowed]
    audience = [server for server in known if resources is None or server in resources]
    if not audience or not set(resources or []) <= set(audience):
        raise InvalidTarget
    return audience
