"""Remember tokens that were verified, so that the same one costs little when it comes again.

Only what a verification has accepted gets in, so forged tokens cannot push good ones out. What may change
meanwhile is looked at again at every use: the time, and whether the key is still in force. (Revocation is the
verifier's affair.)
"""

import threading
import time
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.issuers import TrustedIssuer

# In each worker. Claims take some three times the memory of the token, and objects in them more.
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
    """The claims of tokens by their text; the oldest entry goes when there are too many.

    Safe for threads and forks: reading takes no lock, and every change takes the same one. Nobody can change
    claims, so that all who get them may share them.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, _Verified] = {}
        self._characters = 0
        self._changing = PerProcess(threading.Lock)

    def get(self, token: str) -> tuple[VerifiedClaims, TrustedIssuer] | None:
        """Return the claims of a token that was accepted before and still would be, and its issuer."""
        known = self._tokens.get(token)
        if known is None:
            return None
        # A key that was read anew is another object, even if it is the same key: then all is verified again.
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
        """Add a token that has just been accepted, good between two times in seconds since the epoch."""
        key = issuer.public_keys.get(kid)
        if key is None:  # it was dropped in this very moment
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
