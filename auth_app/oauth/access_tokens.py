"""Sign access tokens with the claims that all of them have (RFC 9068), and verify this server's tokens."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

from auth_app.accounts.sessions import is_revoked
from auth_app.current import current_public_keys, current_settings
from auth_app.errors import InvalidTarget
from auth_app.keys.signing import sign_jwt
from flask_resource_server.tokens.checks import MAXIMUM_LENGTH
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.issuers import TrustedIssuer
from flask_resource_server.tokens.profiles import TOKEN_TYPE
from flask_resource_server.tokens.verifier import RefusedToken, Verifier


def sign_access_token(
    *, subject: str, client_id: str, scopes: Iterable[str], audience: list[str], lifetime: int, **claims: Any
) -> str:
    """Return a signed JWT access token (RFC 9068 section 2).

    `lifetime` is in seconds. `claims` are additional claims. Raises `InvalidTarget` if the token is longer
    than verifiers accept.
    """
    settings = current_settings()
    now = int(time.time())
    all_claims = {
        "iss": settings.issuer,
        "sub": subject,
        "aud": audience,
        "client_id": client_id,
        "scope": " ".join(sorted(scopes)),
        "iat": now,
        "exp": now + lifetime,
        "jti": str(uuid.uuid4()),
        **claims,
    }
    token = sign_jwt(all_claims, TOKEN_TYPE)
    if len(token) > MAXIMUM_LENGTH:  # only `aud` can be that long
        raise InvalidTarget(
            "A token for this many services would be too long. Request fewer with the parameter resource."
        )
    return token


def read_access_token(token: str) -> VerifiedClaims | None:
    """Return the claims of a valid, unrevoked access token for any of our resource servers, or None."""
    settings, public_keys = current_settings(), current_public_keys()
    issuer = TrustedIssuer(settings.issuer, frozenset(settings.audience), public_keys, is_revoked)
    try:
        return Verifier(issuer).verify(token)
    except RefusedToken:
        return None
