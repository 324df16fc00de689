"""Remember tokens that were verified, so that the same one costs little when it comes again.

Only what a verification has accepted gets in, so forged tokens cannot push good ones out. What may change
meanwhile is looked at again at every use: the time, and whether the key is still in force. (So is revocation:
flask-jwt-extended asks about it each time by itself.)
"""

import threading
import time
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.public_keys import PublicKeys

MAXIMUM_TOKENS = 1024  # in each worker; about 2 KiB each

Claims = dict[str, Any]


class _Verified(NamedTuple):
    claims: Claims
    kid: str
    key: RSAPublicKey
    begins_at: float
    ends_at: float


class TokenCache:
    """The claims of tokens by their text; the oldest entry goes when there are too many.

    `leeway` is in seconds, and that of the verification.
    """

    def __init__(self, public_keys: PublicKeys, leeway: int) -> None:
        self._public_keys = public_keys
        self._leeway = leeway
        self._tokens: dict[str, _Verified] = {}
        self._adding = threading.Lock()

    def get(self, token: str) -> Claims | None:
        """Return a copy of the claims of a token that was accepted before and still would be, or None."""
        found = self._tokens.get(token)
        if found is None:
            return None
        # A key that was read anew is another object, even if it is the same key: then all is verified again.
        is_in_force = self._public_keys.get(found.kid) is found.key
        if is_in_force and found.begins_at <= time.time() < found.ends_at:
            return found.claims.copy()
        self._tokens.pop(token, None)
        return None

    def add(self, token: str, kid: str, claims: Claims) -> None:
        """Take in a token that has just been accepted."""
        key = self._public_keys.get(kid)
        if key is None:  # it was dropped in this very moment
            return
        # Cut to whole seconds, as PyJWT does.
        begins_at = int(max(claims["iat"], claims.get("nbf", claims["iat"]))) - self._leeway
        ends_at = int(claims["exp"]) + self._leeway
        with self._adding:
            while len(self._tokens) >= MAXIMUM_TOKENS:
                self._tokens.pop(next(iter(self._tokens)), None)
            self._tokens[token] = _Verified(claims.copy(), kid, key, begins_at, ends_at)
