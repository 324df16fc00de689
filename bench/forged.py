"""Create forged tokens of every kind, and good ones to compare them with: see bench.flood."""

import base64
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from flask_resource_server.tokens.keys import thumbprint
from tests.forger import Forger

LONG = 4096  # characters
KNOWN, NEW = "known good token", "first use of a good token"


def make_tokens(folder: Path, count: int, issuer: str, live: str, revoked: str) -> dict[str, list[str]]:
    """Return so many distinct tokens of each kind, signed by the key in `folder`; one is known and good.

    `live` and `revoked` are tokens of a session that is live and of one that was revoked.
    """
    key = load_pem_private_key((folder / "keys/private_key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    claims = read_claims(live)
    forger = Forger(key, thumbprint(key.public_key()), claims["sub"], claims["sid"], issuer)
    status, now = claims["status"], int(time.time())
    past = {"iat": now - 2000, "exp": now - 1100}
    kinds: dict[str, Callable[[], str]] = {
        KNOWN: lambda: live,
        NEW: lambda: forger.sign(status=status),
        "random string": lambda: _random_text(900),
        "alg none": lambda: forger.sign({"alg": "none"}, _random_signature, status=status),
        "unknown kid": lambda: forger.sign({"kid": _random_text(43)}, _random_signature, status=status),
        "bad signature": lambda: forger.sign({}, _random_signature, status=status),
        f"bad signature, {LONG:,} characters": lambda: _make_long(forger, status),
        "expired": lambda: forger.sign(status=status, **past),
        "wrong audience": lambda: forger.sign(status=status, aud=["https://elsewhere.example"]),
        "revoked session": lambda: forger.sign(status=read_claims(revoked)["status"]),
    }
    return {kind: [make() for _ in range(count)] for kind, make in kinds.items()}


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying it."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def _random_text(length: int) -> str:
    return base64.urlsafe_b64encode(os.urandom(length)).decode()[:length].strip("=")


def _random_signature(_signed: bytes) -> bytes:
    return bytes([0]) + random.randbytes(255)  # less than the modulus, so that OpenSSL does the whole check


def _make_long(forger: Forger, status: object) -> str:
    """Return a forged token of about `LONG` characters, the longest that a service parses."""
    bare = len(forger.sign({}, _random_signature, status=status, padding=""))
    padding = _random_text((LONG - bare) * 3 // 4)
    return forger.sign({}, _random_signature, status=status, padding=padding)
