"""Read public keys and name them; refuse whatever is not a public key."""

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import RSAAlgorithm

from shared.settings import Settings
from shared.startup import StartupError

MINIMUM_BITS = 2048

# By key ID, so that a token's `kid` chooses its key (RFC 7515 section 4.1.4).
PublicKeys = Mapping[str, RSAPublicKey]

_PEM_BLOCK = re.compile(
    r"-----BEGIN (?:RSA )?PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END (?:RSA )?PUBLIC KEY-----"
)


class UnusableKey(StartupError):
    """A key that this service must not work with, and what to do about it."""


def read_public_keys(settings: Settings) -> PublicKeys:
    """Read the public keys that the settings name, as PEM text or as a file of one or several PEM blocks.

    Raises `UnusableKey`.
    """
    if settings.jwt_public_key:
        # An environment file often cannot hold line breaks and spells them out.
        return parse_public_keys(settings.jwt_public_key.replace("\\n", "\n"), "JWT_PUBLIC_KEY")
    path = settings.jwt_public_key_file
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
    except OSError as error:
        raise UnusableKey(
            f"{path} cannot be read ({error.strerror}): put the issuer's public key there, or name its file "
            "in JWT_PUBLIC_KEY_FILE"
        ) from None
    return parse_public_keys(text, str(path))


def parse_public_keys(text: str, source: str) -> PublicKeys:
    """Parse PEM text in which nothing but RSA public keys may stand.

    `source` tells the operator where the text is from. Raises `UnusableKey`.
    """
    if "PRIVATE" in text:
        raise UnusableKey(
            f"{source} holds a private key: put the public key there that `openssl rsa -in private_key.pem "
            "-pubout` prints, and make a new key pair if others could have seen this one"
        )
    blocks = _PEM_BLOCK.findall(text)
    # Whatever is not understood is refused, so that a private key in a form unknown here is refused too.
    if not blocks or _PEM_BLOCK.sub("", text).strip():
        raise UnusableKey(
            f"{source} must hold PEM blocks of public keys and nothing else: make it with `openssl rsa -in "
            "private_key.pem -pubout -out public_key.pem`"
        )
    keys = [_parse_block(block, source) for block in blocks]
    return {thumbprint(key): key for key in keys}


def _parse_block(block: str, source: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(f"{source} holds a PEM block that is damaged: copy the public key again") from None
    if not isinstance(key, RSAPublicKey):
        raise UnusableKey(f"{source} holds a key that is not RSA: RS256 needs an RSA key")
    check_size(key, source)
    return key


def check_size(key: RSAPublicKey, source: str) -> None:
    """Raise `UnusableKey` for a key shorter than RFC 7518 section 3.3 asks for RS256."""
    if key.key_size < MINIMUM_BITS:
        raise UnusableKey(
            f"{source} holds an RSA key of {key.key_size} bits: make one of {MINIMUM_BITS} bits or more"
        )


def public_jwk(key: RSAPublicKey) -> dict[str, str]:
    """Return the members that identify an RSA public key: `e`, `kty`, `n` (RFC 7518 section 6.3.1)."""
    jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
    return {member: jwk[member] for member in ("e", "kty", "n")}


def thumbprint(key: RSAPublicKey) -> str:
    """Return a key's ID: the base64url SHA-256 of its canonical JWK (RFC 7638 section 3)."""
    canonical = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
