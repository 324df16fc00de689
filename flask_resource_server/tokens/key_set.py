"""Parse the JWK Set of an issuer (RFC 7517) and keep its RSA signature keys; skip and log the others."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from flask_resource_server.documents.trusted_files import printable
from flask_resource_server.tokens.jws import decode_base64url
from flask_resource_server.tokens.keys import (
    ALGORITHM,
    MINIMUM_BITS,
    PublishedKey,
    UnusableKey,
    public_jwk,
    thumbprint,
)

# RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
# A larger modulus or exponent makes each verification slow; OpenSSL has the same limits.
_MAXIMUM_BITS = 16384
_MAXIMUM_EXPONENT_BITS = 64
_MAXIMUM_NAMED = 5  # skipped keys in one line of the log

_REPEATS = object()  # marks a JSON object that repeats a member

_logger = logging.getLogger(__name__)


class NoUsableKey(UnusableKey):
    """A well-formed set that has keys, but none that verifies RS256 signatures."""


class _OtherKey(UnusableKey):
    """A key of another kind, which is skipped. `level` is the level of the log line."""

    level = logging.INFO


class _PrivateKey(_OtherKey):
    """A private or secret key, which the issuer has published by mistake."""

    level = logging.ERROR


@dataclass(frozen=True)
class KeySet:
    """The usable keys of a set, by key ID. `problem` says why none of the published keys is usable."""

    keys: Mapping[str, PublishedKey]
    problem: str | None = None

    @property
    def content(self) -> bytes:
        """Return these keys as a JWK Set, for the copy on disk."""
        jwks = [{"kid": kid, **public_jwk(published.key)} for kid, published in self.keys.items()]
        return json.dumps({"keys": jwks, **({"problem": self.problem} if self.problem else {})}).encode()


@lru_cache(maxsize=4)  # so that skipped keys are logged only when the set has changed, not at every fetch
def parse_key_set(body: bytes) -> KeySet:
    """Return the keys of a JWK Set that can verify RS256 signatures, by their `kid`.

    Other keys are skipped (RFC 7517 section 5), and so is a second key with the same `kid`. A key without
    `kid` gets its thumbprint as its ID. An empty set is valid: the issuer has revoked all its keys. Raises
    `UnusableKey` if this is not a JWK Set, and its subclass `NoUsableKey` if every key was skipped.
    """
    keys: dict[str, PublishedKey] = {}
    skipped: list[tuple[int, str]] = []
    jwks = _parse_set(body)
    for index, jwk in enumerate(jwks):
        try:
            key = _parse_key(jwk)
            _add(keys, key, jwk.get("kid"))
        except _OtherKey as error:
            skipped.append((error.level, f"keys[{index}] {error}"))
        except UnusableKey as error:
            skipped.append((logging.WARNING, f"keys[{index}] {error}"))
    named = "; ".join(text for _, text in skipped[:_MAXIMUM_NAMED])
    if jwks and not keys:
        raise NoUsableKey(f"the set holds no RSA key that verifies {ALGORITHM} signatures: {named}")
    if skipped:
        level = max(level for level, _ in skipped)
        _logger.log(level, "skipped %d of the %d keys in the set: %s", len(skipped), len(jwks), named)
    return KeySet(keys)


def read_copy(content: bytes) -> KeySet:
    """Return the set whose `content` this is. Raises `UnusableKey`."""
    keys = parse_key_set(content).keys
    problem = json.loads(content).get("problem")
    return KeySet(keys, None if problem is None else printable(str(problem)))


def _add(keys: dict[str, PublishedKey], key: RSAPublicKey, kid: object) -> None:
    name = kid if isinstance(kid, str) and kid else thumbprint(key)
    if name in keys:
        raise UnusableKey("has the kid of another key in the set")
    keys[name] = PublishedKey(key)


def _parse_set(body: bytes) -> list[Any]:
    """Return the keys of a set, unparsed, so that a bad key does not affect the others."""
    try:
        document = json.loads(body.decode(), object_pairs_hook=_mark_repeats)
        jwks = None if _REPEATS in document else document["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnusableKey("the response is not a JWK Set") from None
    if not isinstance(jwks, list):
        raise UnusableKey("the response is not a JWK Set")
    return jwks


def _mark_repeats(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    members: dict[Any, Any] = dict(pairs)
    return members if len(members) == len(pairs) else {**members, _REPEATS: True}


def _parse_key(jwk: Any) -> RSAPublicKey:
    _check_purpose(jwk)
    try:
        n, e = (int.from_bytes(decode_base64url(jwk[member])) for member in ("n", "e"))
        _check_size(n, e)
        return RSAPublicNumbers(e, n).public_key()
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        raise UnusableKey("is damaged") from None


def _check_purpose(jwk: Any) -> None:
    if not isinstance(jwk, dict):
        raise UnusableKey("is not an object")
    if _REPEATS in jwk:
        raise UnusableKey("repeats a member")
    if PRIVATE_MEMBERS & jwk.keys():
        raise _PrivateKey("is a private or secret key and is compromised: the issuer must replace it")
    if jwk.get("kty") != "RSA":
        raise _OtherKey("is not an RSA key")
    operations = jwk.get("key_ops", ["verify"])
    may_verify = isinstance(operations, list) and "verify" in operations
    if not may_verify or jwk.get("use", "sig") != "sig" or jwk.get("alg", ALGORITHM) != ALGORITHM:
        raise _OtherKey(f"is not for {ALGORITHM} signatures")


def _check_size(n: int, e: int) -> None:
    bits = n.bit_length()
    if bits > _MAXIMUM_BITS:
        raise UnusableKey(f"has more than {_MAXIMUM_BITS} bits")
    if 0 < bits < MINIMUM_BITS:
        raise UnusableKey(f"has {bits} bits, but must have at least {MINIMUM_BITS}")
    if e.bit_length() > _MAXIMUM_EXPONENT_BITS:
        raise UnusableKey(f"has an exponent of more than {_MAXIMUM_EXPONENT_BITS} bits")
