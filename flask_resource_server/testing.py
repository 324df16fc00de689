"""Test a service without an issuer: create access tokens that an application under test accepts.

    tokens = TokenIssuer()
    with tokens.trusted_by(app):
        client.get("/reports", headers=tokens.headers(scopes=["reports:read"]))

Nothing is patched, no network and no file is used, and tokens have to pass every check: only the issuer and
its keys are replaced. To create a token that the application must refuse, change one thing about it, as in
`tokens.issue(expires_in=-60)` or `tokens.issue(aud="https://other.example.com")`.
"""

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Flask

from flask_resource_server.extension import ResourceServer
from flask_resource_server.tokens import TrustedIssuer, Verifier
from flask_resource_server.tokens.keys import ALGORITHM, thumbprint
from flask_resource_server.tokens.profiles import TOKEN_TYPE

_ABSENT = object()


class TokenIssuer:
    """An issuer for tests, with a key of its own. Creating one takes about 50 milliseconds."""

    absent = _ABSENT  # the value of a claim to leave out

    def __init__(self, url: str = "https://issuer.test", audience: str | None = None) -> None:
        self.url = url
        self.audience = audience  # `aud` of the tokens; by default, the URL of the application under test
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = thumbprint(self._key.public_key())

    @contextmanager
    def trusted_by(self, app: Flask) -> Iterator["TokenIssuer"]:
        """Make `app` accept this issuer's tokens, and no others, inside the block."""
        server: ResourceServer = app.extensions["flask_resource_server"]
        verifier, audience = server.verifier, self.audience
        self.audience = audience or server.resource
        issuer = TrustedIssuer(
            self.url, frozenset([self.audience]), {self._kid: self._key.public_key()}, lambda _claims: False
        )
        server.verifier = Verifier(issuer)
        try:
            yield self
        finally:
            server.verifier, self.audience = verifier, audience

    def issue(
        self, *, subject: str = "user", scopes: Iterable[str] = (), expires_in: float = 300, **claims: Any
    ) -> str:
        """Return a signed access token (RFC 9068).

        `expires_in` is in seconds; a negative one gives an expired token. Other `claims` are added, or
        replace those that every token has (`iss`, `aud`, `client_id`, `iat`, `jti`); the value `absent`
        removes one.
        """
        if isinstance(scopes, str):
            raise TypeError(f"scopes must be a list of strings, such as {scopes.split()}")
        now = int(time.time())
        payload = {
            "iss": self.url,
            "sub": subject,
            "aud": self.audience,
            "client_id": "test-client",
            "scope": " ".join(scopes),
            "iat": min(now, now + int(expires_in) - 1),
            "exp": now + int(expires_in),
            "jti": str(uuid.uuid4()),
        } | claims
        payload = {name: value for name, value in payload.items() if value is not _ABSENT}
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self._kid}
        signed = f"{_encode(header)}.{_encode(payload)}"
        signature = self._key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_encode(signature)}"

    def headers(self, **token: Any) -> dict[str, str]:
        """Return request headers with a new token; the arguments are those of `issue`."""
        return {"Authorization": f"Bearer {self.issue(**token)}"}


def _encode(value: bytes | dict[str, Any]) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()
