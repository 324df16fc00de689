"""Verify a Token Status List that the issuer has signed, and look up a token's status in it.

The format is that of the IETF draft "Token Status List" (draft-ietf-oauth-status-list). Comments refer to its
sections.
"""

import re
import time
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.exceptions import ConfigurationError
from flask_resource_server.tokens.checks import HEADER_CHECKS, LEEWAY, Expected, find_faults, is_time
from flask_resource_server.tokens.jws import UnverifiedJws, parse_jws
from flask_resource_server.tokens.profiles import Profile
from flask_resource_server.tokens.public_keys import PublicKeys

LIST_TYPE = "statuslist+jwt"  # section 5.1
MEDIA_TYPE = f"application/{LIST_TYPE}"
PATH = "/.well-known/status-list"  # the index of the issuer's lists; each list is below it, by number
VALID = 0  # section 7.1; every other status counts as revoked
MAXIMUM_BYTES = 1024 * 1024  # of an unpacked list: eight million tokens of one bit each

_PROFILE = Profile(token_types=frozenset({LIST_TYPE}))
_PATH_OF_LIST = re.compile(r"/[1-9][0-9]{0,8}")
_BITS = {1, 2, 4, 8}  # section 4.1


class UnusableStatusList(ConfigurationError):
    """A status list that this service must not use."""


@dataclass(frozen=True, repr=False)
class StatusList:
    """A verified list. Times are in seconds since the epoch."""

    statuses: bytes
    bits: int  # of each status
    kid: str  # of the key that signed it
    key: RSAPublicKey
    issued_at: float
    expires_at: float
    ttl: float  # seconds after which to fetch it again

    @property
    def is_stale(self) -> bool:
        """Return whether the list has expired (section 8.3)."""
        return time.time() >= self.expires_at

    def may_replace(self, known: "StatusList") -> bool:
        """Return whether this list is newer than `known`, a list with the same URI, or equal to it."""
        if self.issued_at == known.issued_at:
            return (self.bits, self.statuses) == (known.bits, known.statuses)
        return self.issued_at > known.issued_at

    def __getitem__(self, index: int) -> int:
        """Return the status at an index, counted from 0. Raises `IndexError`."""
        position = index * self.bits
        return self.statuses[position >> 3] >> (position & 7) & ((1 << self.bits) - 1)


def is_path_of_list(path: str) -> bool:
    """Return whether `path` is what follows `PATH` in the URI of a list: a slash and a number."""
    return bool(_PATH_OF_LIST.fullmatch(path))


def read_reference(claims: Mapping[str, Any]) -> tuple[str, int]:
    """Return the URI of the list that a token refers to, and its index (section 6.2). Raises `ValueError`."""
    try:
        reference = claims["status"]["status_list"]
        uri, index = reference["uri"], reference["idx"]
    except (KeyError, TypeError):
        raise ValueError("status") from None
    if not isinstance(uri, str) or type(index) is not int or index < 0:
        raise ValueError("status")
    return uri, index


def parse_status_list(token: str, uri: str, public_keys: PublicKeys) -> StatusList:
    """Verify the signed JWT that was fetched from `uri` (section 8.3), and return the list in it.

    The list may have expired. Raises `UnusableStatusList`.
    """
    try:
        jws = parse_jws(token)
        _check_header(jws, public_keys)
        kid = jws.header["kid"]
        return _read_claims(jws.claims, uri, kid, public_keys[kid])
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise UnusableStatusList(f"the list at {uri} is invalid ({type(error).__name__}: {error})") from None


def _check_header(jws: UnverifiedJws, public_keys: PublicKeys) -> None:
    expected = Expected(public_keys, profile=_PROFILE)
    for check, fault in find_faults(jws, expected, HEADER_CHECKS):
        if fault:
            raise ValueError(f"{check.describe(expected)}: {fault}")


def _read_claims(claims: dict[str, Any], uri: str, kid: str, key: RSAPublicKey) -> StatusList:
    if claims["sub"] != uri:
        raise ValueError("sub is not its URI")
    bits, packed = claims["status_list"]["bits"], claims["status_list"]["lst"]
    iat, exp, ttl = claims["iat"], claims["exp"], claims["ttl"]
    # 1.0 equals 1 in Python, but cannot be used for shifting.
    if type(bits) is not int or bits not in _BITS or not all(map(is_time, (iat, exp, ttl))):
        raise ValueError("bits, iat, exp or ttl")
    if iat > time.time() + LEEWAY:
        raise ValueError("iat is in the future")
    if not ttl > 0:
        raise ValueError("ttl")
    return StatusList(unpack(packed), bits, kid, key, iat, exp, ttl)


def unpack(packed: str) -> bytes:
    """Return the statuses of a `lst` claim (section 4.2). Raises `ValueError` or `zlib.error`."""
    compressed = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    unpacking = zlib.decompressobj()
    statuses = unpacking.decompress(compressed, MAXIMUM_BYTES)
    if not unpacking.eof:  # truncated, or a zip bomb
        raise ValueError(f"the list is truncated, or larger than {MAXIMUM_BYTES} bytes")
    return statuses
