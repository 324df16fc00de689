"""Cache verified tokens, so that a token that is sent again does not have to be parsed and verified again.

Only accepted tokens are cached, so forged tokens cannot evict good ones. What can change in the meantime is
checked at every use: the time, and whether the key is still published. (The verifier checks revocation.)
"""

import threading
import time
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.issuers import TrustedIssuer

# For each worker. Claims take about three times the memory of the token, and more if they contain objects.
MAXIMUM_TOKENS = 1024
MAXIMUM_CHARACTERS = 1024 * 1024  # of these tokens together


class _Verified(NamedTuple):
    claims: VerifiedClaims
    issuer: TrustedIssuer
    kid: str
    key: RSAPublicKey
    begins_at: float
    ends_at: float


class TokenCache:
    """The claims of verified tokens, by the token's text. The oldest entry is evicted when the cache is full.

    Safe to share between threads and across forks: reads take no lock, and all changes take the same one.
    Claims are immutable, so all requests with a token share one object.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, _Verified] = {}
        self._characters = 0
        self._changing = PerProcess(threading.Lock)

    def get(self, token: str) -> tuple[VerifiedClaims, TrustedIssuer] | None:
        """Return the claims and issuer of a token that was accepted before and is still valid, or None."""
        known = self._tokens.get(token)
        if known is None:
            return None
        # Keys that are loaded again are new objects, even if they are the same keys: then tokens are verified
        # again.
        is_in_force = known.issuer.public_keys.get(known.kid) is known.key
        if is_in_force and known.begins_at <= time.time() < known.ends_at:
            return known.claims, known.issuer
        with self._changing.get():
            self._remove(token)
        return None

    def add(
        self,
        token: str,
        claims: VerifiedClaims,
        issuer: TrustedIssuer,
        kid: str,
        begins_at: float,
        ends_at: float,
    ) -> None:
        """Add a token that has just been accepted, and between which times it is valid (since the epoch)."""
        key = issuer.public_keys.get(kid)
        if key is None:  # it has been removed since the token was verified
            return
        with self._changing.get():
            self._remove(token)
            while self._tokens and (
                len(self._tokens) >= MAXIMUM_TOKENS or self._characters + len(token) > MAXIMUM_CHARACTERS
            ):
                self._remove(next(iter(self._tokens)))
            self._characters += len(token)
            self._tokens[token] = _Verified(claims, issuer, kid, key, begins_at, ends_at)

    def _remove(self, token: str) -> None:
        if self._tokens.pop(token, None):
            self._characters -= len(token)
