"""Read public RSA keys, for RS256 only, from PEM text and files, and compute key IDs; refuse private keys."""

import hashlib
import json
import re
import time
from base64 import urlsafe_b64encode
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from flask_resource_server.exceptions import ConfigurationError

ALGORITHM = "RS256"  # the only algorithm
MINIMUM_BITS = 2048

_PEM_BLOCK = re.compile(
    r"(?:# (?P<state>next|active|retiring) (?:since|until) (?P<time>[-0-9]+T[:0-9]+Z)\s+)?"
    r"(?P<pem>-----BEGIN (?:RSA )?PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END (?:RSA )?PUBLIC KEY-----)"
)


class UnusableKey(ConfigurationError):
    """A key that this service must not use; the message says what to do."""


class PublishedKey(NamedTuple):
    """A public key of a PEM file, with the state in the comment line above its block."""

    key: RSAPublicKey
    state: str | None = None  # next, active or retiring
    time: float | None = None  # when the state began, or when a retiring key expires (since the epoch)

    @property
    def is_gone(self) -> bool:
        """Return whether a retiring key has expired, and with it every token that it signed."""
        return self.state == "retiring" and self.time is not None and self.time <= time.time()


def read_key_file(path: Path) -> dict[str, PublishedKey]:
    """Read a file of one or several PEM blocks. Raises `UnusableKey`."""
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
    except OSError as error:
        raise UnusableKey(
            f"{path} cannot be read ({error.strerror}): put the issuer's public key there, or set the path "
            "of its file (JWT_PUBLIC_KEY_FILE of our services, PUBLIC_KEY_FILE of the kit)"
        ) from None
    return parse_public_keys(text, str(path))


def parse_public_keys(text: str, source: str) -> dict[str, PublishedKey]:
    """Parse PEM text of RSA public keys, each with an optional comment line that gives its state.

    Nothing else may be in the text. Error messages name `source`. Raises `UnusableKey`.
    """
    if "PRIVATE" in text:
        raise UnusableKey(
            f"{source} holds a private key: put the public key there that `openssl rsa -in private_key.pem "
            "-pubout` prints, and make a new key pair if others could have seen this one"
        )
    # Everything unknown is refused, and with it private keys in formats that the test above does not detect.
    if not _PEM_BLOCK.search(text) or _PEM_BLOCK.sub("", text).strip():
        raise UnusableKey(
            f"{source} must hold PEM blocks of public keys and nothing else: create it with `openssl rsa -in "
            "private_key.pem -pubout -out public_key.pem`"
        )
    keys = [_parse_block(block, source) for block in _PEM_BLOCK.finditer(text)]
    return {thumbprint(published.key): published for published in keys}


def _parse_block(block: re.Match[str], source: str) -> PublishedKey:
    try:
        key = load_pem_public_key(block["pem"].encode())
        moment = datetime.fromisoformat(block["time"]).timestamp() if block["time"] else None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(f"{source} holds a damaged PEM block: copy the public key again") from None
    if not isinstance(key, RSAPublicKey):
        raise UnusableKey(f"{source} holds a key that is not RSA: RS256 needs an RSA key")
    check_size(key, source)
    return PublishedKey(key, block["state"], moment)


def check_size(key: RSAPublicKey, source: str) -> None:
    """Raise `UnusableKey` for a key that is too short for RS256 (RFC 7518 section 3.3)."""
    if key.key_size < MINIMUM_BITS:
        raise UnusableKey(
            f"{source} holds an RSA key of {key.key_size} bits: create one of {MINIMUM_BITS} bits or more"
        )


def public_jwk(key: RSAPublicKey) -> dict[str, str]:
    """Return the members that identify an RSA public key: `e`, `kty`, `n` (RFC 7518 section 6.3.1)."""
    numbers = key.public_numbers()
    return {"e": _encode_number(numbers.e), "kty": "RSA", "n": _encode_number(numbers.n)}


def _encode_number(number: int) -> str:
    return _encode(number.to_bytes((number.bit_length() + 7) // 8))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(key: RSAPublicKey) -> str:
    """Return a key's ID: the base64url SHA-256 of its canonical JWK (RFC 7638 section 3)."""
    canonical = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return _encode(hashlib.sha256(canonical.encode()).digest())
