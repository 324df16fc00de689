"""Sign access tokens, and read those that this server has signed: the only module that signs."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

import jwt
from flask import current_app

from auth_app.sessions import is_revoked
from auth_app.settings import AuthSettings
from auth_app.signing_key import PrivateKey, current_signing_key
from shared.keys import ALGORITHM
from shared.public_keys import current_public_keys
from shared.verification import LEEWAY, TOKEN_TYPE, check_claims, choose_key


def sign_access_token(
    *, subject: str, client_id: str, scopes: Iterable[str], audience: list[str], lifetime: int, **claims: Any
) -> str:
    """Return a JWT that lets `subject` use `scopes` at the servers of `audience` (RFC 9068 section 2).

    `lifetime` is in seconds.
    """
    settings: AuthSettings = current_app.extensions["settings"]
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
    return sign_jwt(all_claims, TOKEN_TYPE, current_signing_key().get())


def sign_jwt(claims: dict[str, Any], kind: str, private_key: PrivateKey) -> str:
    """Return a JWT of a `kind`, which is its `typ`: one of another kind is never taken for it."""
    headers = {"typ": kind, "kid": private_key.kid}
    return jwt.encode(claims, private_key.key, ALGORITHM, headers)


def read_access_token(token: str) -> dict[str, Any] | None:
    """Return the claims of an access token that is good now, whichever server it is for, or None."""
    settings: AuthSettings = current_app.extensions["settings"]
    try:
        key = choose_key(jwt.get_unverified_header(token), current_public_keys())
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            [ALGORITHM],
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=LEEWAY,
        )
    except jwt.InvalidTokenError:
        return None
    return claims if check_claims(claims) and not is_revoked(claims) else None
