"""Say what a token must be: every check on a signed token is a row of one table.

RFC 9068 section 4 and RFC 8725 decide what is checked; the issuer's profile says where its tokens differ.
`HEADER_CHECKS` hold for any JWT that the issuer signs, `CHECKS` for access tokens. Whoever made a token must
not be able to steer a terminal: advice quotes it in ASCII.
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

LEEWAY = 10  # seconds that two clocks may differ
MAXIMUM_LIFETIME = RFC9068.maximum_lifetime  # seconds from `iat` to `exp`
MAXIMUM_LENGTH = RFC9068.maximum_length  # characters of an encoded token


@dataclass(frozen=True)
class Expected:
    """What a token is held against."""

    public_keys: Mapping[str, RSAPublicKey]
    issuer: str = ""
    audiences: Set[str] = frozenset()  # one of them must be in `aud`
    profile: Profile = RFC9068


@dataclass(frozen=True)
class Check:
    """One row: what must be true of a token, and what to do where it is not."""

    name: str  # for people; `describe` fills in what is in braces
    reason: str  # a label for metrics and logs
    # Returns None for a good token, else advice for the operator of the service.
    find_fault: Callable[[UnverifiedJws, Expected], str | None]

    def describe(self, expected: Expected) -> str:
        """Return what must be true of a token that is held against `expected`, for people."""
        return self.name.format_map(_Wording(expected))


# Advice where a token looks like another kind of token, or like an access token of another kind of issuer.
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
    return "it needs an extension, and none is known here" if "crit" in token.header else None


def _check_key_id(token: UnverifiedJws, expected: Expected) -> str | None:
    if _find_key(token, expected):
        return None
    kid, known = token.header.get("kid"), ", ".join(map(ascii, expected.public_keys))
    return f"it is {kid!a}, and the known keys are {known}: give this service the issuer's public key"


def _find_key(token: UnverifiedJws, expected: Expected) -> RSAPublicKey | None:
    """Return the key that `kid` names. Keys in the token (`jwk`, `jku`, `x5c`, `x5u`) are never used.

    The key is looked up even if it is not in the mapping yet: the lookup may fetch it.
    """
    kid = token.header.get("kid")
    return expected.public_keys.get(kid) if isinstance(kid, str) else None


def _check_signature(token: UnverifiedJws, expected: Expected) -> str | None:
    key = _find_key(token, expected)
    if key is None:
        return "there is no key to verify it with"
    try:
        key.verify(token.signature, token.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return "somebody else signed this token, or changed it"
    return None


def _check_issuer(token: UnverifiedJws, expected: Expected) -> str | None:
    issuer = token.claims.get("iss")
    if issuer == expected.issuer:
        return None
    return f"it is {issuer!a}: set ISSUER to that, to the character, if this service trusts that issuer"


def _check_audience(token: UnverifiedJws, expected: Expected) -> str | None:
    audience = token.claims.get("aud")
    listed: Any = [audience] if isinstance(audience, str) else audience
    is_list = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
    if is_list and not expected.audiences.isdisjoint(listed):
        return None
    return (
        f"it is {audience!a}: RESOURCE must be the name by which the issuer knows this service, "
        "and the client must request a token for it"
    )


def _check_numbers(token: UnverifiedJws, _expected: Expected) -> str | None:
    return None if _times(token) else "the issuer must set exp and iat to numbers (RFC 7519 section 2)"


def _check_expiry(token: UnverifiedJws, _expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "it has no time that can be compared"
    ago = time.time() - times[0]
    return None if ago < LEEWAY else f"it did {ago:.0f} seconds ago: get another one"


def _check_beginning(token: UnverifiedJws, _expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "it has no time that can be compared"
    ahead = max(times[1:]) - time.time()
    if ahead <= LEEWAY:
        return None
    return f"it will in {ahead:.0f} seconds: set the clock of this host, or that of the issuer's"


def _check_lifetime(token: UnverifiedJws, expected: Expected) -> str | None:
    if not (times := _times(token)):
        return "it has no time that can be compared"
    lifetime = times[0] - times[1]
    if 0 < lifetime <= expected.profile.maximum_lifetime:
        return None
    return (
        f"it is valid for {lifetime:.0f}: configure the issuer to issue shorter-lived access tokens, or set "
        "PROFILE to a profile that allows more"
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
    # RFC 7800 section 3: without its proof the token is worth nothing, whoever sends it.
    if "cnf" not in token.claims:
        return None
    return "it is bound to a key (DPoP, mTLS), and no proof is checked here: request a bearer token"


def _check_scope(token: UnverifiedJws, expected: Expected) -> str | None:
    claims, profile = token.claims, expected.profile
    name = profile.scope_claim
    if name in claims and not profile.is_scope(claims[name]):
        return f"{name} is {_show(claims, name)}: set PROFILE to the profile of this token's issuer"
    for name, value in profile.values_if_present.items():
        if name in claims and claims[name] != value:
            return f"{name} is {_show(claims, name)}: {_OTHER_TOKEN}"
    if profile.required_any and not any(claims.get(name) for name in profile.required_any):
        return "the issuer granted the client nothing: grant it a scope or a role, and request that"
    return None


def _show(claims: Mapping[str, Any], name: str) -> str:
    return ascii(claims[name]) if name in claims else "absent"


def _times(token: UnverifiedJws) -> tuple[float, float, float] | None:
    """Return `exp`, `iat` and `nbf` if they are numbers (RFC 7519 section 2); without `nbf`, `iat` again."""
    claims = token.claims
    exp, iat = claims.get("exp"), claims.get("iat")
    nbf = claims.get("nbf", iat)
    return (exp, iat, nbf) if all(map(is_time, (exp, iat, nbf))) else None  # type: ignore[return-value]


def is_time(value: Any) -> bool:
    """Tell whether a value is a number that can be compared with a time (RFC 7519 section 2)."""
    # True is an `int` to Python; what cannot be a time breaks arithmetic.
    return type(value) in {int, float} and -(2.0**53) < value < 2.0**53


HEADER_CHECKS = (
    Check(f"alg is {ALGORITHM}", "alg", _check_algorithm),  # whatever it says (RFC 8725 section 3.1)
    Check("typ is {types}", "typ", _check_type),
    Check("crit is absent", "crit", _check_extensions),
    Check("kid names a key that is known", "kid", _check_key_id),
    Check("the signature is that key's", "signature", _check_signature),
)
CHECKS = (
    *HEADER_CHECKS,
    Check("iss is {issuer}", "iss", _check_issuer),
    Check("aud has {audience}", "aud", _check_audience),
    Check("exp and iat, and nbf if there is one, are numbers", "times", _check_numbers),
    Check("it has not expired", "expired", _check_expiry),
    Check("its time has come", "early", _check_beginning),
    Check("it is valid for {lifetime} seconds at most", "lifetime", _check_lifetime),
    Check("{claims}", "claims", _check_claims),
    Check("cnf is absent", "binding", _check_binding),
    Check("{scope}", "scope_claim", _check_scope),
)


def find_faults(
    token: UnverifiedJws, expected: Expected, checks: Iterable[Check] = CHECKS
) -> Iterable[tuple[Check, str | None]]:
    """Make checks in their order, and yield each with what is wrong, or with None."""
    return ((check, check.find_fault(token, expected)) for check in checks)


class _Wording(dict[str, str]):
    """What `Check.describe` puts into the names of checks."""

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
