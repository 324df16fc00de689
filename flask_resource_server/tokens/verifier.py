"""Verify access tokens: what a view, introspection, revocation and `explain-token` all go through."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.tokens.cache import TokenCache
from flask_resource_server.tokens.checks import LEEWAY, MAXIMUM_LENGTH, Expected, find_faults
from flask_resource_server.tokens.jws import UnverifiedJws, parse_jws

Claims = dict[str, Any]
# Tells from its claims whether a token that is good in every other respect was revoked.
IsRevoked = Callable[[Claims], bool]
# What was checked, whether the token passed, and what to do if not.
Explanation = tuple[str, bool, str]

_REVOKED = "it was not revoked"


class RefusedToken(jwt.InvalidTokenError):
    """A token has failed a check. `reason` is a label for metrics and logs; clients do not learn it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verifier:
    """Accepts the access tokens that `issuer` signed with one of `public_keys` for one of `audiences`."""

    def __init__(
        self,
        issuer: str,
        audiences: Iterable[str],
        public_keys: Mapping[str, RSAPublicKey],
        is_revoked: IsRevoked,
    ) -> None:
        self._expected = Expected(public_keys, issuer, frozenset(audiences))
        self._is_revoked = is_revoked
        self._cache = TokenCache(public_keys)

    def verify(self, text: str) -> Claims:
        """Return the claims of a token that is accepted. Raises `RefusedToken`.

        A token is verified once and then remembered; its time, its key and its revocation are looked at
        each time. The claims are the caller's own: changing them changes nothing else.
        """
        payload = self._cache.get(text)
        if payload is None:
            payload = self._verify_anew(text)
        claims: Claims = json.loads(payload)
        if self._is_revoked(claims):
            raise RefusedToken("revoked")
        return claims

    def _verify_anew(self, text: str) -> str:
        token = _parse(text)
        if token is None:
            raise RefusedToken("form")
        for check, fault in find_faults(token, self._expected):
            if fault:
                raise RefusedToken(check.reason)
        payload, claims = token.payload.decode(), token.claims
        begins_at = max(claims["iat"], claims.get("nbf", claims["iat"])) - LEEWAY
        self._cache.add(text, payload, token.header["kid"], begins_at, claims["exp"] + LEEWAY)
        return payload

    def explain(self, text: str) -> Iterator[Explanation]:
        """Make every check on a token, whatever the ones before have come to.

        Whether it was revoked is asked only of a token that is good in every other respect.
        """
        token = _parse(text)
        yield (
            f"three parts in base64url, JSON in UTF-8, {MAXIMUM_LENGTH} characters at most",
            token is not None,
            "copy the whole token, without quotes, spaces and the word Bearer",
        )
        if token is None:
            return
        expected = self._expected
        is_accepted = True
        for check, fault in find_faults(token, expected):
            is_accepted = is_accepted and fault is None
            yield check.describe(expected), fault is None, fault or ""
        if is_accepted:
            advice = "its session has ended, or it has no good `status` (STATUS_CLAIM): log in again"
            yield _REVOKED, not self._is_revoked(token.claims), advice


def _parse(text: str) -> UnverifiedJws | None:
    if len(text) > MAXIMUM_LENGTH:
        return None
    try:
        return parse_jws(text)
    except ValueError:
        return None
