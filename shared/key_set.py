"""Read the JWK Set of an issuer (RFC 7517): its RSA signature keys, and nothing else."""

import json
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_decode

from shared.keys import ALGORITHM, UnusableKey, check_size

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1


def convert_key_set(body: bytes) -> bytes:
    """Return the keys of a JWK Set that may verify, as PEM blocks. Raises `UnusableKey`."""
    try:
        jwks = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnusableKey("the answer is no JWK Set") from None
    if not isinstance(jwks, list) or not all(isinstance(jwk, dict) for jwk in jwks):
        raise UnusableKey("the answer is no JWK Set")
    if any(PRIVATE_MEMBERS & jwk.keys() for jwk in jwks):
        raise UnusableKey("the set holds a private or a secret key: it must not be used any more, by anybody")
    # What is not understood is passed over (RFC 7517 section 5).
    keys = [_parse_key(jwk) for jwk in jwks if _may_verify(jwk)]
    if not keys:
        raise UnusableKey("the set holds no RSA key that verifies RS256 signatures")
    return b"\n".join(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys)


def _may_verify(jwk: Mapping[str, object]) -> bool:
    is_for_signatures = jwk.get("use", "sig") == "sig" and jwk.get("key_ops", ["verify"]) == ["verify"]
    return jwk.get("kty") == "RSA" and is_for_signatures and jwk.get("alg", ALGORITHM) == ALGORITHM


def _parse_key(jwk: Mapping[str, str]) -> RSAPublicKey:
    try:
        n, e = (int.from_bytes(base64url_decode(jwk[member])) for member in ("n", "e"))
        key = RSAPublicNumbers(e, n).public_key()
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        raise UnusableKey("the set holds an RSA key that is damaged") from None
    check_size(key, "the set")
    return key
