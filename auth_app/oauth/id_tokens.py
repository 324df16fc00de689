"""Build and sign ID tokens with their claims (OpenID Connect Core 2), and verify an `id_token_hint`."""

import hashlib
import time
from base64 import urlsafe_b64encode
from typing import Any

from auth_app.current import current_public_keys, current_settings
from auth_app.keys.signing import sign_jwt
from auth_app.models import Session
from flask_resource_server.tokens.checks import HEADER_CHECKS, MAXIMUM_LENGTH, Check, Expected, find_faults
from flask_resource_server.tokens.jws import UnverifiedJws, parse_jws

ID_TOKEN_TYPE = "JWT"  # noqa: S105  # never that of an access token, which is `at+jwt` (RFC 9068 section 2.1)

# The claims of an ID token (sections 2 and 3.1.3.6), and `sid` for logout.
ID_TOKEN_CLAIMS = (
    "iss", "sub", "aud", "azp", "iat", "exp", "auth_time", "amr", "sid", "at_hash", "nonce",
)  # fmt: skip


def sign_id_token(session: Session, access_token: str, nonce: str | None) -> str:
    """Return the ID token of a user's session (OpenID Connect Core section 2). Raises `UnusableKey`."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": current_settings().issuer,
        "sub": str(session.user_id),
        "aud": session.client_id,
        "azp": session.client_id,
        "iat": now,
        "exp": now + current_settings().access_token_lifetime,
        "auth_time": session.auth_time or session.created_at,
        "amr": ["pwd"],  # RFC 8176
        "sid": str(session.id),
        "at_hash": _hash(access_token),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    return sign_jwt(claims, ID_TOKEN_TYPE)


def read_id_token(text: str) -> dict[str, Any] | None:
    """Return the claims of an ID token that this server has issued, or None. Expired tokens are accepted.

    It serves as a hint to a user or login (OpenID Connect RP-Initiated Logout 1.0 section 2).
    """
    try:
        token = parse_jws(text) if len(text) <= MAXIMUM_LENGTH else None
    except ValueError:
        return None
    if token is None:
        return None
    expected = Expected(current_public_keys(), current_settings().issuer)
    faults = (fault for _, fault in find_faults(token, expected, _CHECKS))
    return None if any(faults) else token.claims


def _check_type(token: UnverifiedJws, _expected: Expected) -> str | None:
    return None if token.header.get("typ") == ID_TOKEN_TYPE else "it is another kind of token"


def _check_issuer(token: UnverifiedJws, expected: Expected) -> str | None:
    return None if token.claims.get("iss") == expected.issuer else "it was issued by another server"


def _check_names(token: UnverifiedJws, _expected: Expected) -> str | None:
    names = ("sub", "aud", "sid")
    return None if all(isinstance(token.claims.get(name), str) for name in names) else "a claim is missing"


_CHECKS = (
    *(check for check in HEADER_CHECKS if check.reason != "typ"),
    Check("typ is JWT", "typ", _check_type),
    Check("iss is {issuer}", "iss", _check_issuer),
    Check("sub, aud and sid are present", "claims", _check_names),
)


def _hash(access_token: str) -> str:
    """Return the left half of the token's SHA-256, in base64url (OpenID Connect Core section 3.1.3.6)."""
    return urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()[:16]).rstrip(b"=").decode()
