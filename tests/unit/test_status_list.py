"""A Token Status List is read as the draft says, and anything else is refused."""

import json
import time
import zlib
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flask_resource_server.tokens.keys import PublishedKey
from flask_resource_server.tokens.public_keys import FixedKeys, PublicKeys
from flask_resource_server.tokens.status_list import (
    MAXIMUM_BYTES,
    UnusableStatusList,
    parse_status_list,
    read_reference,
    unpack,
)
from tests.conftest import KeyPair
from tests.forger import ABSENT, Forger, hs256, rs

URI = "http://127.0.0.1:8081/.well-known/status-list/1"

# The examples of section 4.1: sixteen statuses of one bit, twelve statuses of two bits.
VECTORS = {
    1: ("eNrbuRgAAhcBXQ", [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
    2: ("eNo76fITAAPfAgc", [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]),
}


def pack(statuses: bytes) -> str:
    return urlsafe_b64encode(zlib.compress(statuses, 9)).rstrip(b"=").decode()


def sign(forger: Forger, header: dict[str, Any] | None = None, signer: Any = None, **changes: Any) -> str:
    """Return a list that is valid except for `header`, `signer` and `changes`."""
    now = int(time.time())
    claims = {
        "sub": URI,
        "iat": now,
        "exp": now + 3600,
        "ttl": 30,
        "status_list": {"bits": 1, "lst": VECTORS[1][0]},
    } | changes
    kept = {name: value for name, value in claims.items() if value is not ABSENT}
    return forger.sign_payload(json.dumps(kept).encode(), {"typ": "statuslist+jwt"} | (header or {}), signer)


@pytest.fixture(scope="module")
def public_keys(key_pair: KeyPair) -> PublicKeys:
    keys = {key_pair.kid: PublishedKey(key_pair.private_key.public_key())}
    return FixedKeys(keys)


@pytest.mark.parametrize(("bits", "lst", "statuses"), [(bits, *vector) for bits, vector in VECTORS.items()])
def test_examples_from_the_draft_are_read(
    bits: int, lst: str, statuses: list[int], forger: Forger, public_keys: PublicKeys
) -> None:
    token = sign(forger, status_list={"bits": bits, "lst": lst})

    found = parse_status_list(token, URI, public_keys)

    assert [found[index] for index in range(len(statuses))] == statuses
    with pytest.raises(IndexError):
        found[len(statuses)]


@pytest.mark.parametrize("bits", [4, 8])
def test_wider_statuses_are_read(bits: int, forger: Forger, public_keys: PublicKeys) -> None:
    token = sign(forger, status_list={"bits": bits, "lst": pack(b"\x21\x43")})

    found = parse_status_list(token, URI, public_keys)

    assert [found[index] for index in range(16 // bits)] == ([1, 2, 3, 4] if bits == 4 else [0x21, 0x43])


@pytest.mark.parametrize(
    "header", [{"typ": "application/statuslist+jwt"}, {"typ": "StatusList+JWT"}], ids=str
)
def test_typ_may_be_a_full_media_type_and_in_any_case(
    header: dict[str, Any], forger: Forger, public_keys: PublicKeys
) -> None:
    assert parse_status_list(sign(forger, header), URI, public_keys)[0] == 1


def test_expired_list_is_read_and_marked_as_stale(forger: Forger, public_keys: PublicKeys) -> None:
    now = int(time.time())

    assert parse_status_list(sign(forger, exp=now - 1), URI, public_keys).is_stale
    assert not parse_status_list(sign(forger, exp=now + 60), URI, public_keys).is_stale


FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BAD_LISTS: dict[str, dict[str, Any]] = {
    "access token": {"header": {"typ": "at+jwt"}},
    "JWT": {"header": {"typ": "JWT"}},
    "no typ": {"header": {"typ": ABSENT}},
    "typ is a number": {"header": {"typ": 1}},
    "crit": {"header": {"crit": ["x"], "x": 1}},
    "unknown kid": {"header": {"kid": "other"}},
    "kid is a list": {"header": {"kid": ["other"]}},
    "no kid": {"header": {"kid": ABSENT}},
    "other key": {"signer": Forger(FOREIGN, "").key},
    "HS256": {"header": {"alg": "HS256"}, "signer": hs256(b"secret")},
    "none": {"header": {"alg": "none"}, "signer": lambda _: b""},
    "other list": {"sub": URI[:-1] + "2"},
    "other issuer": {"sub": URI.replace("8081", "9999")},
    "no sub": {"sub": ABSENT},
    "sub is a list": {"sub": [URI]},
    "no iat": {"iat": ABSENT},
    "iat is a string": {"iat": "now"},
    "from the future": {"iat": int(time.time()) + 3600},
    "no exp": {"exp": ABSENT},
    "exp is a string": {"exp": "9999999999"},
    "exp is true": {"exp": True},
    "exp is infinite": {"exp": float("inf")},
    "no ttl": {"ttl": ABSENT},
    "ttl is infinite": {"ttl": float("inf")},
    "ttl is 0": {"ttl": 0},
    "ttl is negative": {"ttl": -1},
    "ttl is a string": {"ttl": "30"},
    "ttl is true": {"ttl": True},
    "no list": {"status_list": ABSENT},
    "list is a string": {"status_list": VECTORS[1][0]},
    "no bits": {"status_list": {"lst": VECTORS[1][0]}},
    "three bits": {"status_list": {"bits": 3, "lst": VECTORS[1][0]}},
    "bits are true": {"status_list": {"bits": True, "lst": VECTORS[1][0]}},
    "bits are a list": {"status_list": {"bits": [1], "lst": VECTORS[1][0]}},
    "no lst": {"status_list": {"bits": 1}},
    "lst is a number": {"status_list": {"bits": 1, "lst": 1}},
    "lst is not base64url": {"status_list": {"bits": 1, "lst": "\u00e9"}},
    "lst is not compressed": {"status_list": {"bits": 1, "lst": "AAAA"}},
    "lst is truncated": {"status_list": {"bits": 1, "lst": pack(bytes(range(256)))[:-20]}},
    "bomb": {"status_list": {"bits": 1, "lst": pack(bytes(50_000_000))}},
}


@pytest.mark.parametrize("changes", BAD_LISTS.values(), ids=BAD_LISTS)
def test_bad_list_is_refused(changes: dict[str, Any], forger: Forger, public_keys: PublicKeys) -> None:
    header, signer, claims = changes.get("header"), changes.get("signer"), dict(changes)
    claims.pop("header", None)
    claims.pop("signer", None)
    token = sign(forger, header, rs(signer) if isinstance(signer, rsa.RSAPrivateKey) else signer, **claims)

    with pytest.raises(UnusableStatusList):
        parse_status_list(token, URI, public_keys)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "\u00e9.b.c", "x" * 100_000])
def test_malformed_jwt_is_refused(token: str, public_keys: PublicKeys) -> None:
    with pytest.raises(UnusableStatusList):
        parse_status_list(token, URI, public_keys)


def test_list_of_maximum_size_is_read_and_a_larger_one_is_refused() -> None:
    assert len(unpack(pack(bytes(MAXIMUM_BYTES)))) == MAXIMUM_BYTES
    with pytest.raises(ValueError, match="larger than"):
        unpack(pack(bytes(MAXIMUM_BYTES + 1)))


@pytest.mark.parametrize(
    "status",
    [
        None,
        [],
        {},
        {"status_list": None},
        {"status_list": []},
        {"status_list": {"idx": 1}},
        {"status_list": {"uri": URI}},
        {"status_list": {"idx": "1", "uri": URI}},
        {"status_list": {"idx": 1.0, "uri": URI}},
        {"status_list": {"idx": True, "uri": URI}},
        {"status_list": {"idx": -1, "uri": URI}},
        {"status_list": {"idx": 1, "uri": [URI]}},
    ],
    ids=str,
)
def test_malformed_reference_raises_value_error(status: object) -> None:
    with pytest.raises(ValueError, match="status"):
        read_reference({"status": status})
