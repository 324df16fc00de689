"""Read the JWK Set of an issuer (RFC 7517): its RSA signature keys, and nothing else."""

import logging
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_decode

from shared.jws import parse_object
from shared.keys import ALGORITHM, UnusableKey, check_size

# RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_MAXIMUM_BITS = 16384  # of a modulus: to verify a signature with a longer one takes long
_MAXIMUM_SKIPPED = 5  # keys that are named in the log

_logger = logging.getLogger(__name__)


def convert_key_set(body: bytes) -> bytes:
    """Return the keys of a JWK Set that may verify, as PEM blocks. Raises `UnusableKey`.

    A key that cannot be used is skipped, and the others are kept (RFC 7517 section 5).
    """
    try:
        jwks = parse_object(body)["keys"]
    except (ValueError, KeyError):
        raise UnusableKey("the answer is not a JWK Set") from None
    if not isinstance(jwks, list):
        raise UnusableKey("the answer is not a JWK Set")
    keys, skipped = [], []
    for index, jwk in enumerate(jwks):
        try:
            keys += [_parse_key(jwk)] if _may_verify(jwk) else []
        except UnusableKey as error:
            skipped.append(f"keys[{index}] {error}")
    named = "; ".join(skipped[:_MAXIMUM_SKIPPED])
    if not keys:
        why = named or "it is empty"
        raise UnusableKey(f"the set holds no RSA key that verifies {ALGORITHM} signatures: {why}")
    if skipped:
        _logger.warning("skipped %d of the %d keys in the set: %s", len(skipped), len(jwks), named)
    return b"\n".join(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys)


def _parse_key(jwk: Mapping[str, str]) -> RSAPublicKey:
    try:
        n, e = (int.from_bytes(base64url_decode(jwk[member])) for member in ("n", "e"))
        if n.bit_length() > _MAXIMUM_BITS:
            raise UnusableKey(f"has more than {_MAXIMUM_BITS} bits")
        key = RSAPublicNumbers(e, n).public_key()
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        raise UnusableKey("is damaged") from None
    check_size(key, "it")
    return key


def _may_verify(jwk: object) -> bool:
    """Tell a key for RS256 signatures from one for something else, which is nothing to wonder about.

    Raises `UnusableKey` for what should not be in a set at all.
    """
    if not isinstance(jwk, dict):
        raise UnusableKey("is not an object")
    if PRIVATE_MEMBERS & jwk.keys():
        raise UnusableKey("is a private or a secret key, and must not be used any more by anybody")
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == "RSA"
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and jwk.get("alg", ALGORITHM) == ALGORITHM
    )
