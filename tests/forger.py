"""Sign tokens of every kind, good and forged: the only module in which tests sign."""

import hashlib
import hmac
import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

ABSENT = object()
ISSUER = "http://127.0.0.1:8081"
COURSES = "http://127.0.0.1:8082"
NEWCOMER = "http://127.0.0.1:8083"  # auth_app issues tokens for it by default, too

Signer = Callable[[bytes], bytes]


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def rs(key: rsa.RSAPrivateKey, digest: HashAlgorithm | None = None) -> Signer:
    return lambda data: key.sign(data, padding.PKCS1v15(), digest or SHA256())


def ps256(key: rsa.RSAPrivateKey) -> Signer:
    return lambda data: key.sign(data, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())


def hs256(secret: bytes) -> Signer:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def es256(key: ec.EllipticCurvePrivateKey) -> Signer:
    return lambda data: key.sign(data, ec.ECDSA(SHA256()))


SHA384_DIGEST, SHA512_DIGEST = SHA384(), SHA512()


@dataclass(frozen=True)
class Forger:
    """Signs tokens, by default good ones: with the issuer's key, for an existing user."""

    key: rsa.RSAPrivateKey
    kid: str
    subject: str = "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"
    session: str | None = None
    issuer: str = ISSUER
    resource: str = COURSES

    def sign(
        self, header: dict[str, Any] | None = None, signer: Signer | None = None, /, **changes: Any
    ) -> str:
        """Return a token that is good except for `header` (JOSE members), `signer` and `changes` (claims)."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": [self.issuer, self.resource],
            "client_id": "first-party",
            "scope": "courses:read",
            "iat": now,
            "exp": now + 900,
            "jti": str(uuid.uuid4()),
            "sid": self.session or ABSENT,
        } | changes
        kept = {name: value for name, value in claims.items() if value is not ABSENT}
        return self.sign_payload(json.dumps(kept).encode(), header, signer)

    def sign_payload(
        self, payload: bytes, header: dict[str, Any] | None = None, signer: Signer | None = None
    ) -> str:
        """Return a signed token with any payload."""
        members = {"alg": "RS256", "typ": "at+jwt", "kid": self.kid} | (header or {})
        kept = {name: value for name, value in members.items() if value is not ABSENT}
        signed = f"{encode(json.dumps(kept).encode())}.{encode(payload)}"
        return f"{signed}.{encode((signer or rs(self.key))(signed.encode()))}"
