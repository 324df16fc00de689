"""Sign access tokens: the only module that signs."""

import time
import uuid
from collections.abc import Iterable

import jwt
from flask import current_app

from auth_app.models import User
from auth_app.settings import AuthSettings
from auth_app.signing_key import SigningKey
from shared.verification import ALGORITHM, TOKEN_TYPE

# The `client_id` of tokens from the first-party login, which no registered client asked for.
FIRST_PARTY = "first-party"


def sign_access_token(user: User, scopes: Iterable[str]) -> str:
    """Return a JWT that lets `user` use `scopes` at every resource server (RFC 9068 section 2)."""
    settings: AuthSettings = current_app.extensions["settings"]
    signing_key: SigningKey = current_app.extensions["signing_key"]
    now = int(time.time())
    claims = {
        "iss": settings.issuer,
        "sub": str(user.id),
        "aud": [settings.issuer, *settings.resources],
        "client_id": FIRST_PARTY,
        "scope": " ".join(sorted(scopes)),
        "iat": now,
        "exp": now + settings.access_token_lifetime,
        "jti": str(uuid.uuid4()),
        "username": user.username,
    }
    headers = {"typ": TOKEN_TYPE, "kid": signing_key.kid}
    return jwt.encode(claims, signing_key.private_key, ALGORITHM, headers)
