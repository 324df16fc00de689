"""Verify an access token. Views, introspection, revocation and `explain-token` all use this verifier."""

from collections.abc import Iterator

from flask_resource_server.tokens.cache import TokenCache
from flask_resource_server.tokens.checks import LEEWAY, Expected, describe_leeway, find_faults
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.issuers import Issuer, TrustedIssuer
from flask_resource_server.tokens.jws import UnverifiedJws, parse_jws

Explanation = tuple[str, bool, str]  # the check in words, whether the token passed, and advice if it did not

_REVOKED = "it was not revoked"


class RefusedToken(Exception):
    """A token has failed a check. `reason` is a label for metrics and logs; do not send it to clients."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verifier:
    """Verifies the access tokens of one or more issuers. Safe to share between threads and across forks.

    A token's `iss` selects the issuer, whose keys, audiences and profile then apply. Creating a verifier
    fetches nothing and starts no thread; its first use may.
    """

    def __init__(self, *issuers: TrustedIssuer) -> None:
        self.issuers = issuers
        self.maximum_length = max(issuer.profile.maximum_length for issuer in issuers)
        self._by_url = {issuer.url: issuer for issuer in issuers}
        self._cache = TokenCache()

    @classmethod
    def trusting(cls, *issuers: Issuer, resource: str) -> "Verifier":
        """Return a verifier for the service whose own URL is `resource`. Raises `ConfigurationError`."""
        return cls(*(issuer.open(resource) for issuer in issuers))

    def verify(self, text: str) -> VerifiedClaims:
        """Return the claims of a token, which passes every check and was not revoked.

        A token is verified once and then cached; its times, its key and its revocation are checked at each
        call. Raises `RefusedToken`. Raises `Undetermined` or `ConfigurationError` (a missing key file, say)
        if it cannot be determined whether the token is good: respond with 503 then, never with 401.
        """
        claims, issuer = self._cache.get(text) or self._verify_anew(text)
        if issuer.is_revoked(claims):
            raise RefusedToken("revoked")
        return claims

    def _verify_anew(self, text: str) -> tuple[VerifiedClaims, TrustedIssuer]:
        token = self._parse(text)
        if token is None:
            raise RefusedToken("form")
        issuer = self._find_issuer(token)
        if len(text) > issuer.profile.maximum_length:
            raise RefusedToken("form")
        for check, fault in find_faults(token, _expect(issuer)):
            if fault:
                raise RefusedToken(check.reason)
        claims, times = VerifiedClaims(token.claims, issuer.profile), token.claims
        begins_at = max(times["iat"], times.get("nbf", times["iat"])) - LEEWAY
        self._cache.add(text, claims, issuer, token.header["kid"], begins_at, times["exp"] + LEEWAY)
        return claims, issuer

    def _find_issuer(self, token: UnverifiedJws) -> TrustedIssuer:
        """Return the issuer that a token names, or the first issuer if it names no known one.

        The checks of the first issuer then refuse the token: its signature or its `iss` is wrong.
        """
        name = token.claims.get("iss")
        return self._by_url.get(name, self.issuers[0]) if isinstance(name, str) else self.issuers[0]

    def _parse(self, text: str) -> UnverifiedJws | None:
        if len(text) > self.maximum_length:  # the limit of the issuer, unknown before parsing, may be lower
            return None
        try:
            return parse_jws(text)
        except ValueError:
            return None

    def explain(self, text: str) -> Iterator[Explanation]:
        """Run every check on a token, also after one has failed, and yield the results.

        Revocation is checked only if the token passed every other check. Raises `Undetermined`,
        `ConfigurationError`.
        """
        token = self._parse(text)
        issuer = self._find_issuer(token) if token else None
        limit = issuer.profile.maximum_length if issuer else self.maximum_length
        is_accepted = token is not None and len(text) <= limit
        yield (
            f"three parts in base64url, JSON in UTF-8, at most {limit} characters",
            is_accepted,
            "copy the whole token, without quotes, spaces or the word Bearer",
        )
        if token is None or issuer is None:
            return
        expected = _expect(issuer)
        for check, fault in find_faults(token, expected):
            is_accepted = is_accepted and fault is None
            remark = describe_leeway(token) if check.reason == "expired" and fault is None else ""
            yield check.describe(expected) + remark, fault is None, fault or ""
        if is_accepted:
            advice = "its session has ended, or it has no valid `status` claim (STATUS_CLAIM): log in again"
            yield _REVOKED, not issuer.is_revoked(token.claims), advice


def _expect(issuer: TrustedIssuer) -> Expected:
    return Expected(issuer.public_keys, issuer.url, issuer.audiences, issuer.profile)
