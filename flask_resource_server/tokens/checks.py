"""The checks that every token must pass, a row of a table each, and the advice that explain-token prints.

RFC 9068 section 4 and RFC 8725 decide what is checked. The issuer's profile (profiles.py) states where its
tokens differ. `HEADER_CHECKS` apply to any JWT that the issuer signs, `CHECKS` to access tokens. Advice
quotes tokens in ASCII only, because a token may contain control sequences for the terminal that shows it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from flask_resource_server.tokens.jws import UnverifiedJws
from flask_resource_server.tokens.keys import ALGORITHM
from flask_resource_server.tokens.profiles import PROFILES, RFC9068, Profile

LEEWAY = 10  # seconds by which the clocks of two hosts may differ
MAXIMUM_LIFETIME = RFC9068.maximum_lifetime  # seconds from `iat` to `exp`
MAXIMUM_LENGTH = RFC9068.maximum_length  # characters of an encoded token


@dataclass(frozen=True)
class Expected:
    """The keys, issuer, audiences and profile that a token is checked against."""

    public_keys: Mapping[str, RSAPublicKey]
    issuer: str = ""
    audiences: Set[str] = frozenset()  # at least one of them must be in `aud`
    profile: Profile = RFC9068


@dataclass(frozen=True)
class Check:
    """One row of the table: a condition that a token must meet, and the function that checks it."""

    name: str  # the condition as `explain-token` prints it; `describe` fills in the braces
    reason: str  # a label for metrics and logs
    # Returns None if the token meets the condition, and otherwise advice for the operator of the service.
    find_fault: Callable[[UnverifiedJws, Expected], str | None]

    def describe(self, expected: Expected) -> str:
        """Return the condition in words, with the values of `expected`."""
        return self.name.format_map(_Wording(expected))


# Advice for a token that looks like an ID token or a refresh token, or comes from another kind of issuer.
_OTHER_TOKEN = (
    "send an access token, not an ID token or a refresh token; if it is one, set PROFILE to the "
    f"profile of its issuer ({', '.join(PROFILES)})"
)


def _check_algorithm(token: UnverifiedJws, _expected: Expected) -> str | None:
    algorithm = token.header.get("alg")
    return None if algorithm == ALGORITHM else f"it is {algorithm!a}: no other algorithm is accepted"


def _check_type(token: UnverifiedJws, expected: Expected) -> str | None:
    types = expected.profile.token_types
    if "typ" not in token.header:
        return None if None in types else f"it is absent: {_OTHER_TOKEN}"
    kind = token.header["typ"]  # RFC 8725 section 3.11
    if isinstance(kind, str) and kind.lower().removeprefix("application/") in types:
        return None
    return f"it is {kind!a}: {_OTHER_TOKEN}"


def _check_extensions(token: UnverifiedJws, _expected: Expected) -> str | None:
    # RFC 7515 section 4.1.11
    return "the token requires an extension, and none is supported" if "crit" in token.header else None


def _check_key_id(token: UnverifiedJws, expected: Expected) -> str | None:
    if _find_key(token, expected):
        return None
    kid, known = token.header.get("kid"), ", ".join(map(ascii, expected.public_keys))
    return f"it is {kid!a}, and the known keys are {known}: configure the issuer's public key here"


def _find_key(token: UnverifiedJws, expected: Expected) -> RSAPublicKey | None:
    """Return the key that `kid` names. Keys in the token (`jwk`, `jku`, `x5c`, `x5u`) are never used.

    Looking up a key that is not in the mapping may fetch it.
    """
    kid = token.header.get("kid")
    return expected.public_keys.get(kid) if isinstance(kid, str) else None


def _check_signature(token: UnverifiedJws, expected: Expected) -> str | None:
    key = _find_key(token, expected)
    if key is None:
        return "its key is not known"
    try:
        key.verify(token.signature, token.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return "the token was signed with another key, or changed after it was signed"
    return None


def _check_issuer(token: UnverifiedJws, expected: Expected) -> str | None:
    issuer = token.claims.get("iss")
    if issuer == expected.issuer:
        return None
    return f"it is {issuer!a}: if this service trusts that issuer, set ISSUER to exactly that"


def _check_audience(token: UnverifiedJws, expected: Expected) -> str | None:
    audience = token.claims.get("aud")
    listed: Any = [audience] if isinstance(audience, str) else audience
    is_list = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
    if is_list and not expected.audiences.isdisjoint(listed):
        return None
    return (
        f"it is {audience!a}: set RESOURCE to the name by which the issuer knows this service, and have the "
        "client request a token for it"
    )


def _check_numbers(token: UnverifiedJws, _expected: Expected) -> str | None:
    return None if _times(token) else "the issuer must set exp and iat to numbers (RFC 7519 section 2)"


def _check_expiry(token: UnverifiedJws, _expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "its times are not numbers"
    ago = time.time() - times[0]
    return None if ago < LEEWAY else f"it expired {ago:.0f} seconds ago: get a new token"


def describe_leeway(token: UnverifiedJws) -> str:
    """Return a remark for `explain-token` if a token with valid times is past `exp`, or an empty string."""
    ago = time.time() - token.claims["exp"]
    return f" (exp was {ago:.0f} seconds ago; clocks may differ by {LEEWAY})" if ago > 0 else ""


def _check_beginning(token: UnverifiedJws, _expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "its times are not numbers"
    ahead = max(times[1:]) - time.time()
    if ahead <= LEEWAY:
        return None
    return f"iat or nbf is {ahead:.0f} seconds ahead: correct the clock of this host or of the issuer's host"


def _check_lifetime(token: UnverifiedJws, expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "its times are not numbers"
    lifetime = times[0] - times[1]
    if 0 < lifetime <= expected.profile.maximum_lifetime:
        return None
    return (
        f"it is {lifetime:.0f} seconds: configure the issuer to issue shorter-lived access tokens, or set "
        "PROFILE to a profile that allows longer ones"
    )


def _check_claims(token: UnverifiedJws, expected: Expected) -> str | None:
    claims, profile = token.claims, expected.profile
    for name in profile.required_names:
        if not (isinstance(claims.get(name), str) and claims[name]):
            return f"{name} is {_show(claims, name)}: {_OTHER_TOKEN}"
    for name, value in profile.required_values.items():
        if claims.get(name) != value:
            return f"{name} is {_show(claims, name)}: {_OTHER_TOKEN}"
    for name in sorted(profile.forbidden_claims):
        if name in claims:
            return f"{name} is present: {_OTHER_TOKEN}"
    return None


def _check_binding(token: UnverifiedJws, _expected: Expected) -> str | None:
    # RFC 7800 section 3: the sender of such a token must prove possession of a key, and no proof is checked.
    if "cnf" not in token.claims:
        return None
    return "the token is bound to a key (DPoP, mTLS), which is not supported: request a bearer token"


def _check_scope(token: UnverifiedJws, expected: Expected) -> str | None:
    claims, profile = token.claims, expected.profile
    name = profile.scope_claim
    if name in claims and not profile.is_scope(claims[name]):
        return f"{name} is {_show(claims, name)}: set PROFILE to the profile of this token's issuer"
    for name, value in profile.values_if_present.items():
        if name in claims and claims[name] != value:
            return f"{name} is {_show(claims, name)}: {_OTHER_TOKEN}"
    if profile.required_any and not any(claims.get(name) for name in profile.required_any):
        return "the issuer granted the client nothing: grant it a scope or a role, and request a new token"
    return None


def _show(claims: Mapping[str, Any], name: str) -> str:
    return ascii(claims[name]) if name in claims else "absent"


def _times(token: UnverifiedJws) -> tuple[float, float, float] | None:
    """Return `exp`, `iat` and `nbf`, or None unless they are numbers; `nbf` defaults to `iat`."""
    claims = token.claims
    exp, iat = claims.get("exp"), claims.get("iat")
    nbf = claims.get("nbf", iat)
    return (exp, iat, nbf) if all(map(is_time, (exp, iat, nbf))) else None  # type: ignore[return-value]


def is_time(value: Any) -> bool:
    """Return whether a value is a NumericDate (RFC 7519 section 2) that is safe to calculate with."""
    # True is an `int` in Python. NaN, infinity and huge integers break arithmetic.
    return type(value) in {int, float} and -(2.0**53) < value < 2.0**53


HEADER_CHECKS = (
    Check(f"alg is {ALGORITHM}", "alg", _check_algorithm),  # RFC 8725 section 3.1
    Check("typ is {types}", "typ", _check_type),
    Check("crit is absent", "crit", _check_extensions),
    Check("kid names a known key", "kid", _check_key_id),
    Check("the signature verifies with that key", "signature", _check_signature),
)
CHECKS = (
    *HEADER_CHECKS,
    Check("iss is {issuer}", "iss", _check_issuer),
    Check("aud has {audience}", "aud", _check_audience),
    Check("exp and iat are numbers, and nbf if present", "times", _check_numbers),
    Check("it has not expired", "expired", _check_expiry),
    Check("it is already valid", "early", _check_beginning),
    Check("its lifetime is at most {lifetime} seconds", "lifetime", _check_lifetime),
    Check("{claims}", "claims", _check_claims),
    Check("cnf is absent", "binding", _check_binding),
    Check("{scope}", "scope_claim", _check_scope),
)


def find_faults(
    token: UnverifiedJws, expected: Expected, checks: Iterable[Check] = CHECKS
) -> Iterable[tuple[Check, str | None]]:
    """Run the checks in order; yield each with its advice, or with None if the token passed it."""
    return ((check, check.find_fault(token, expected)) for check in checks)


class _Wording(dict[str, str]):
    """The values that `Check.describe` fills into the names of checks."""

    def __init__(self, expected: Expected) -> None:
        profile = expected.profile
        super().__init__(
            types=profile.describe_types(),
            issuer=expected.issuer,
            audience=" or ".join(sorted(expected.audiences)),
            lifetime=str(profile.maximum_lifetime),
            claims=profile.describe_claims(),
            scope=profile.describe_scope(),
        )
