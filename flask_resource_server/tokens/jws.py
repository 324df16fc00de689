"""Parse a token as a compact JWS (RFC 7515), strictly: only one spelling, which all parsers read alike."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from flask_resource_server.tokens.strict_json import parse_json

# Python matches these ranges twice as fast as `\w`, and every request with a token is matched.
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, repr=False)
class UnverifiedJws:
    """A JWS that was parsed but not verified: nothing in it may be trusted yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes  # the bytes that the signature covers
    signature: bytes


def parse_jws(text: str) -> UnverifiedJws:
    """Parse a JWS in compact serialization whose header and payload are JSON objects. Raises `ValueError`."""
    if not WELL_FORMED.fullmatch(text):
        raise ValueError("not three parts in base64url")
    signed, _, encoded_signature = text.rpartition(".")
    header, payload = map(decode_base64url, signed.split("."))
    return UnverifiedJws(
        parse_object(header),
        parse_object(payload),
        signed.encode(),
        decode_base64url(encoded_signature),
    )


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object strictly. Raises `ValueError`."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # a client's mistake, not a programmer's
    return value


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2). Raises `ValueError` for any other spelling."""
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Python's decoder ignores foreign characters, extra padding, and the unused bits of the last character.
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not base64url without padding")
    return decoded
