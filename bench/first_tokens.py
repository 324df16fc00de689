"""Sign access tokens of many users, so that a service has to verify every token and has none in its cache."""

import time
import uuid
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

USERS = 10_000
LIFETIME = 3600  # seconds: a whole run


def sign_tokens(like: str, private_key: Path) -> list[str]:
    """Return tokens like the given one, each for another user and another session."""
    key = load_pem_private_key(private_key.read_bytes(), None)
    header = jwt.get_unverified_header(like)
    claims = jwt.decode(like, options={"verify_signature": False})
    now, size = int(time.time()), 2**17
    tokens = []
    for number in range(USERS):
        claims |= {"sub": str(uuid.uuid4()), "jti": str(uuid.uuid4()), "iat": now, "exp": now + LIFETIME}
        if "sid" in claims:
            claims["sid"] = str(uuid.uuid4())
        if "status" in claims:
            status_list = claims["status"]["status_list"]
            claims["status"] = {"status_list": status_list | {"idx": number % size}}
        tokens.append(jwt.encode(claims, key, "RS256", headers=header))  # type: ignore[arg-type]
    return tokens
