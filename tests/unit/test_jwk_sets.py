"""Unusable keys in a JWK Set are skipped and logged, and the others are used."""

import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from flask_resource_server.tokens.key_set import parse_key_set
from flask_resource_server.tokens.keys import UnusableKey, public_jwk, thumbprint
from tests.conftest import KeyPair
from tests.forger import encode

SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
CURVE = ec.generate_private_key(ec.SECP256R1())

# Changes to a good key that make it unusable, or another key in its place, and what is logged about it.
BAD_KEYS: dict[str, tuple[Any, str]] = {
    "no modulus": ({"n": ...}, "is damaged"),
    "modulus NaN": ({"n": float("nan")}, "is damaged"),
    "modulus null": ({"n": None}, "is damaged"),
    "modulus with a character that decoders skip": ({"n": lambda n: f"{n[:9]}*{n[9:]}"}, "is damaged"),
    "modulus padded": ({"n": lambda n: n + "=="}, "is damaged"),
    "modulus empty": ({"n": ""}, "is damaged"),
    "modulus of 40,000 bits": ({"n": encode(b"\xff" * 5000)}, "has more than 16384 bits"),
    "no exponent": ({"e": ...}, "is damaged"),
    "exponent one": ({"e": "AQ"}, "is damaged"),
    "exponent even": ({"e": "AQAA"}, "is damaged"),
    "exponent of 2,040 bits": ({"e": encode(b"\x7f" * 255)}, "has an exponent of more than 64 bits"),
    "1024 bits": (json.loads(RSAAlgorithm.to_jwk(SHORT.public_key())), "has 1024 bits"),
    "elliptic curve": (json.loads(ECAlgorithm.to_jwk(CURVE.public_key())), "is not an RSA key"),
    "for encryption": ({"use": "enc"}, "is not for RS256 signatures"),
    "use null": ({"use": None}, "is not for RS256 signatures"),
    "another algorithm": ({"alg": "PS256"}, "is not for RS256 signatures"),
    "operations for signing": ({"key_ops": ["sign"]}, "is not for RS256 signatures"),
    "operations null": ({"key_ops": None}, "is not for RS256 signatures"),
    "operations a string": ({"key_ops": "verify"}, "is not for RS256 signatures"),
    "no key type": ({"kty": ...}, "is not an RSA key"),
    "not an object": ("RSA", "is not an object"),
    "null": (None, "is not an object"),
}

LOGGER = "flask_resource_server.tokens.key_set"


def change(good: dict[str, Any], bad: Any) -> Any:
    """Apply one of `BAD_KEYS` to a good key: `...` removes a member."""
    if not isinstance(bad, dict) or isinstance(bad.get("kty"), str):
        return bad
    changed = {
        **good,
        **{name: value(good[name]) if callable(value) else value for name, value in bad.items()},
    }
    return {name: value for name, value in changed.items() if value is not ...}


def convert(*jwks: Any) -> set[str]:
    """Return the IDs of the keys that are used."""
    return set(parse_key_set(json.dumps({"keys": jwks}).encode()).keys)


@pytest.fixture
def good(key_pair: KeyPair) -> dict[str, Any]:
    return public_jwk(key_pair.private_key.public_key())


@pytest.fixture
def other(other_key_pair: KeyPair) -> dict[str, Any]:
    return public_jwk(other_key_pair.private_key.public_key())


@pytest.mark.parametrize(("bad", "said"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_bad_key_is_skipped_and_logged(
    bad: Any,
    said: str,
    good: dict[str, Any],
    other: dict[str, Any],
    key_pair: KeyPair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    assert convert(good, change(other, bad)) == {key_pair.kid}

    ((level, line),) = [(at, text) for name, at, text in caplog.record_tuples if name == LOGGER]
    is_for_others = said.startswith(("is not for", "is not an RSA key"))
    assert level == (logging.INFO if is_for_others else logging.WARNING)
    assert line.startswith(f"skipped 1 of the 2 keys in the set: keys[1] {said}")


@pytest.mark.parametrize(
    "odd", [b'{"kty":"RSA","kty":"RSA"}', b'{"kty":"EC","x":NaN}', b'{"kty":"oct","kid":"\\ud800"}']
)
def test_key_in_odd_json_does_not_invalidate_the_set(
    odd: bytes, good: dict[str, Any], key_pair: KeyPair
) -> None:
    parsed = parse_key_set(b'{"keys":[' + odd + b"," + json.dumps(good).encode() + b"]}")

    assert set(parsed.keys) == {key_pair.kid}


def test_set_with_a_repeated_member_is_refused(good: dict[str, Any]) -> None:
    with pytest.raises(UnusableKey):
        parse_key_set(b'{"keys":[],"keys":[' + json.dumps(good).encode() + b"]}")


@pytest.mark.parametrize(("bad", "said"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_set_with_only_bad_keys_is_refused_with_the_reason(
    bad: Any, said: str, other: dict[str, Any]
) -> None:
    with pytest.raises(UnusableKey) as refusal:
        convert(change(other, bad))

    assert f": keys[0] {said}" in str(refusal.value)


@pytest.mark.parametrize("member", ["d", "p", "oth", "k"])
@pytest.mark.parametrize("value", ["AQAB", None])
def test_key_with_a_private_member_is_skipped_and_logged_as_an_error(
    member: str,
    value: str | None,
    good: dict[str, Any],
    other: dict[str, Any],
    key_pair: KeyPair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert convert({**other, member: value}, good) == {key_pair.kid}

    ((level, line),) = [(at, text) for name, at, text in caplog.record_tuples if name == LOGGER]
    assert level == logging.ERROR
    assert "keys[0] is a private or secret key" in line


@pytest.mark.parametrize(
    "extra", [{}, {"key_ops": ["verify", "encrypt"]}, {"use": "sig", "alg": "RS256"}], ids=str
)
def test_good_key_is_used_and_nothing_is_logged(
    extra: dict[str, Any], good: dict[str, Any], key_pair: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    assert convert({**good, **extra}) == {key_pair.kid}
    assert [line for name, _, line in caplog.record_tuples if name == LOGGER] == []


def test_unchanged_key_set_is_logged_once(good: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        convert(good, {"kty": "RSA", "kid": "logged once"})

    assert len([name for name, *_ in caplog.record_tuples if name == LOGGER]) == 1


def test_keys_are_identified_by_their_kid(good: dict[str, Any], other: dict[str, Any]) -> None:
    assert convert({**good, "kid": "2026-11"}, {**other, "kid": "2026-12"}) == {"2026-11", "2026-12"}


@pytest.mark.parametrize("kid", [{}, {"kid": ""}, {"kid": 7}, {"kid": None}], ids=str)
def test_key_without_a_usable_kid_is_identified_by_its_thumbprint(
    kid: dict[str, Any], good: dict[str, Any], key_pair: KeyPair
) -> None:
    assert convert({**good, **kid}) == {key_pair.kid}


def test_second_key_with_the_same_kid_is_skipped(
    good: dict[str, Any], other: dict[str, Any], key_pair: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    keys = parse_key_set(json.dumps({"keys": [{**good, "kid": "a"}, {**other, "kid": "a"}]}).encode()).keys

    assert {kid: thumbprint(published.key) for kid, published in keys.items()} == {"a": key_pair.kid}
    assert "keys[1] has the kid of another key in the set" in caplog.text


def test_copy_of_a_set_has_the_same_keys(good: dict[str, Any], other: dict[str, Any]) -> None:
    fetched = parse_key_set(json.dumps({"keys": [{**good, "kid": "a"}, other]}).encode())

    assert parse_key_set(fetched.content).keys == fetched.keys
