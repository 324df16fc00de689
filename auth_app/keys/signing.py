"""Sign JWTs with the current signing key: the only module of the services that signs."""

from typing import Any

import jwt

from auth_app.keys.signing_key import PrivateKey, current_signing_key
from flask_resource_server.tokens.keys import ALGORITHM


def sign_jwt(claims: dict[str, Any], kind: str, private_key: PrivateKey | None = None) -> str:
    """Return a signed JWT with the `typ` header `kind`, by which verifiers distinguish kinds of tokens.

    Signs with the current signing key, unless `private_key` is given. Raises `UnusableKey`.
    """
    private_key = private_key or current_signing_key().get()
    headers = {"typ": kind, "kid": private_key.kid}
    return jwt.encode(claims, private_key.key, ALGORITHM, headers)
