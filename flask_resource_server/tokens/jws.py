"""Parse compact JWS strictly: one token has one spelling, and one meaning to every parser (RFC 7515)."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from flask_resource_server.tokens.strict_json import parse_json

# Python matches these ranges twice as fast as `\w`, and each request with a token is matched.
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, repr=False)
class UnverifiedJws:
    """A JWS that was parsed and not verified: nothing in it may be trusted yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes  # what the signature is for
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
        raise ValueError("not a JSON object")  # noqa: TRY004  # of a client's making, not of a programmer's
    return value


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2). Raises `ValueError` for any other spelling."""
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Python ignores foreign characters, surplus padding, and bits of the last character that are not used.
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not base64url without padding")
    return decoded
