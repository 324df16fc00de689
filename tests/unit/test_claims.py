"""`VerifiedClaims` reads claims according to the issuer's profile and is immutable."""

import timeit
from types import MappingProxyType
from typing import Any

import pytest

from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.profiles import AUTH0, OKTA, RFC9068


def make_claims(**changes: Any) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "iss": "http://127.0.0.1:8081",
        "sub": "user",
        "aud": ["http://127.0.0.1:8081", "http://127.0.0.1:8082"],
        "client_id": "client",
        "scope": "courses:read courses:write",
        "iat": 1000,
        "exp": 1900.5,
        "jti": "token",
        "sid": "session",
    }
    return claims | changes


def test_properties_return_the_standard_claims() -> None:
    claims = VerifiedClaims(make_claims(), RFC9068)

    assert (claims.issuer, claims.subject, claims.client_id) == ("http://127.0.0.1:8081", "user", "client")
    assert (claims.token_id, claims.session_id) == ("token", "session")
    assert claims.audience == ("http://127.0.0.1:8081", "http://127.0.0.1:8082")
    assert claims.scopes == {"courses:read", "courses:write"}
    assert (claims.issued_at, claims.expires_at) == (1000, 1900.5)


def test_single_audience_becomes_a_tuple() -> None:
    assert VerifiedClaims(make_claims(aud="a"), RFC9068).audience == ("a",)


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [("", set()), ("a", {"a"}), (" a  b ", {"a", "b"}), ("a\u2003b", {"a\u2003b"})],
    ids=["empty", "one", "spaces", "another whitespace character"],
)
def test_scopes_are_separated_by_spaces_only(scope: str, scopes: set[str]) -> None:
    assert VerifiedClaims(make_claims(scope=scope), RFC9068).scopes == scopes


def test_token_without_a_scope_claim_has_no_scopes() -> None:
    claims = make_claims()
    del claims["scope"]

    assert VerifiedClaims(claims, RFC9068).scopes == frozenset()


def test_items_of_a_scope_list_are_not_split() -> None:
    assert VerifiedClaims(make_claims(scp=["a b", "c"]), OKTA).scopes == {"a b", "c"}


def test_scopes_are_computed_once() -> None:
    claims = VerifiedClaims(make_claims(), RFC9068)

    assert claims.scopes is claims.scopes


def test_token_id_is_absent_where_the_profile_has_none() -> None:
    assert VerifiedClaims(make_claims(), AUTH0).token_id is None


@pytest.mark.parametrize("sid", [None, 1, ["x"]], ids=repr)
def test_session_id_that_is_not_a_string_is_ignored(sid: Any) -> None:
    assert VerifiedClaims(make_claims(sid=sid), RFC9068).session_id is None


def test_mapping_has_every_claim() -> None:
    claims = VerifiedClaims(make_claims(colour="blue"), RFC9068)

    assert claims["colour"] == claims.get("colour") == "blue"
    assert (claims.get("x"), claims.get("x", 1)) == (None, 1)
    assert set(claims) == {*make_claims(), "colour"}
    assert len(claims) == len(make_claims()) + 1
    assert "colour" in claims
    assert "x" not in claims
    with pytest.raises(KeyError):
        claims["x"]


NESTED = {"roles": ["a", {"b": ["c"]}], "none": None}


def test_nested_claims_are_read_only() -> None:
    nested = VerifiedClaims(make_claims(realm=NESTED), RFC9068)["realm"]

    assert isinstance(nested, MappingProxyType)
    assert isinstance(nested["roles"][1], MappingProxyType)
    assert nested == {"roles": ("a", {"b": ("c",)}), "none": None}
    with pytest.raises(TypeError):
        nested["roles"] = ()  # type: ignore[index]


def test_nested_claims_are_read_only_through_every_accessor() -> None:
    claims = VerifiedClaims({"realm": NESTED}, RFC9068)

    assert isinstance(next(iter(claims.values())), MappingProxyType)
    assert isinstance(dict(claims)["realm"]["roles"], tuple)
    assert isinstance(claims.get("realm"), MappingProxyType)


def test_claims_cannot_be_changed() -> None:
    claims: Any = VerifiedClaims(make_claims(), RFC9068)

    with pytest.raises(TypeError):
        claims["sub"] = "another"
    with pytest.raises(TypeError):
        del claims["sub"]
    for name in ("subject", "scopes", "colour"):
        with pytest.raises(AttributeError):
            setattr(claims, name, "x")
    assert not hasattr(claims, "__dict__")


def test_repr_shows_only_the_subject_and_client() -> None:
    claims = VerifiedClaims(make_claims(email="a@example.com", sub="\x1b[2J\u00e9"), RFC9068)

    assert repr(claims) == str(claims) == r"<VerifiedClaims subject='\x1b[2J\xe9' client_id='client'>"


def test_construction_time_does_not_depend_on_the_number_of_claims() -> None:
    few, many = make_claims(), make_claims(groups=[NESTED] * 10_000)

    def measure(claims: dict[str, Any]) -> float:
        return min(timeit.repeat(lambda: VerifiedClaims(claims, RFC9068), number=100, repeat=20))

    assert measure(many) < 20 * measure(few)  # freezing them here would take thousands of times as long
