"""`POST /revoke` (RFC 7009) ends a session, `POST /introspect` (RFC 7662) says whether a token is active."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import add_client, bearer, both_databases, find_user, log_in, read_claims
from tests.forger import COURSES, ISSUER

pytestmark = both_databases

STUDENT = {"username": "student1", "password": "password123"}


@pytest.fixture
def inspector(auth: FlaskClient) -> tuple[str, str]:
    return add_client(auth, "inspector", "--resource", COURSES)


def introspect(client: FlaskClient, token: str, credentials: tuple[str, str]) -> dict[str, Any]:
    response = client.post("/introspect", data={"token": token}, auth=credentials)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert isinstance(response.json, dict)
    return response.json


def is_over(client: FlaskClient, answer: dict[str, Any], credentials: tuple[str, str] | None = None) -> bool:
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    return (
        client.get("/users/me", headers=bearer(answer["access_token"])).status_code == 401
        and client.post("/token", data=form, auth=credentials).status_code == 400
    )


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "pigeon"])
def test_revoking_either_token_ends_the_session(kind: str, hint: str | None, auth: FlaskClient) -> None:
    answer, other = log_in(auth), log_in(auth)

    response = auth.post(
        "/revoke", data={"token": answer[kind]} | ({"token_type_hint": hint} if hint else {})
    )

    assert (response.status_code, response.json) == (200, {})
    assert is_over(auth, answer)
    assert not is_over(auth, other)


def test_revoking_a_spent_refresh_token_ends_its_session(auth: FlaskClient) -> None:
    first = log_in(auth)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = auth.post("/token", data=form).json
    assert second

    auth.post("/revoke", data={"token": first["refresh_token"]})

    assert is_over(auth, second)


@pytest.mark.parametrize("token", ["x", "x" * 86, "a.b.c", "..", "x" * 4096])
def test_revoking_an_unknown_token_succeeds(token: str, auth: FlaskClient) -> None:
    response = auth.post("/revoke", data={"token": token})

    assert (response.status_code, response.json) == (200, {})


def test_revoking_twice_is_not_an_error(auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]

    assert [auth.post("/revoke", data={"token": token}).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_token_of_another_client_is_not_revoked(
    kind: str, auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    own, other = log_in(auth), auth.post("/token", data=STUDENT, auth=inspector).json
    assert other

    for token, credentials in ((own[kind], inspector), (other[kind], None)):
        response = auth.post("/revoke", data={"token": token}, auth=credentials)
        assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_grant")

    assert not is_over(auth, own)
    assert introspect(auth, other["refresh_token"], inspector)["active"] is True
    assert auth.post("/revoke", data={"token": other[kind]}, auth=inspector).status_code == 200
    assert introspect(auth, other["refresh_token"], inspector) == {"active": False}


def test_client_credentials_token_can_be_revoked(auth: FlaskClient, inspector: tuple[str, str]) -> None:
    def get_token() -> str:
        answer = auth.post("/token", data={"grant_type": "client_credentials"}, auth=inspector).json
        assert answer
        return str(answer["access_token"])

    def is_active(token: str) -> bool:
        answer = auth.post("/introspect", data={"token": token}, auth=inspector).json
        assert answer
        return bool(answer["active"])

    first, second = get_token(), get_token()
    assert auth.post("/revoke", data={"token": first}, auth=inspector).status_code == 200

    assert not is_active(first)
    assert not is_active(second), "all tokens of a client's session end together"
    assert is_active(get_token())


@pytest.mark.parametrize(
    "token", ["x", "a b", "x" * 5000, "x" * 60_000, "\u00e9", "\x00", "a.b.c", "e30.e30.e30", "." * 5000]
)
def test_malformed_token_counts_as_revoked_and_inactive(
    token: str, auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    """RFC 7009 section 2.2, RFC 7662 section 2.2."""
    assert auth.post("/revoke", data={"token": token}).status_code == 200
    assert auth.post("/introspect", data={"token": token}, auth=inspector).json == {"active": False}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"data": {}}, 400),
        ({"data": {"token": ""}}, 400),
        ({"data": {"token": ["x", "y"]}}, 400),
        ({"json": {"token": "x"}}, 415),
    ],
    ids=str,
)
def test_bad_request_is_refused(
    request_: dict[str, Any], status: int, auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    content_type = None if "json" in request_ else "application/x-www-form-urlencoded"

    for path in ("/revoke", "/introspect"):
        response = auth.post(path, auth=inspector, content_type=content_type, **request_)
        assert response.status_code == status, path


def test_introspection_describes_a_valid_access_token(auth: FlaskClient, inspector: tuple[str, str]) -> None:
    token = log_in(auth)["access_token"]
    claims = read_claims(token)

    told = introspect(auth, token, inspector)

    names = ("scope", "client_id", "username", "exp", "iat", "sub", "aud", "iss", "jti")
    assert told == {"active": True, "token_type": "Bearer"} | {name: claims[name] for name in names}


def test_introspection_describes_a_refresh_token_only_to_its_own_client(
    auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    own, other = auth.post("/token", data=STUDENT, auth=inspector).json, log_in(auth)
    assert own

    told = introspect(auth, own["refresh_token"], inspector)

    assert told.pop("exp") - told.pop("iat") == 30 * 86400
    assert told == {
        "active": True,
        "scope": "",
        "client_id": "inspector",
        "username": "student1",
        "sub": str(find_user(auth, "student1").id),
        "iss": ISSUER,
    }
    assert introspect(auth, other["refresh_token"], inspector) == {"active": False}


def test_spent_refresh_token_is_inactive_and_introspecting_it_is_not_reuse(
    auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    first = auth.post("/token", data=STUDENT, auth=inspector).json
    assert first
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = auth.post("/token", data=form, auth=inspector).json
    assert second

    assert introspect(auth, first["refresh_token"], inspector) == {"active": False}
    assert introspect(auth, second["refresh_token"], inspector)["active"] is True


def test_client_cannot_introspect_tokens_for_other_servers(
    auth: FlaskClient, inspector: tuple[str, str]
) -> None:
    token = log_in(auth, resource=ISSUER)["access_token"]

    assert introspect(auth, token, inspector) == {"active": False}
    assert introspect(auth, token, add_client(auth, "other", "--resource", ISSUER))["active"] is True


def test_client_can_introspect_its_own_token(auth: FlaskClient) -> None:
    credentials = add_client(auth, "website", "--resource", COURSES)
    answer = auth.post("/token", data={"grant_type": "client_credentials"}, auth=credentials).json
    assert answer

    told = introspect(auth, answer["access_token"], credentials)

    assert (told["active"], told["sub"], told["exp"] > time.time()) == (True, "website", True)
    assert "username" not in told
    assert introspect(auth, answer["access_token"], add_client(auth, "other", "--resource", ISSUER)) == {
        "active": False
    }


def test_token_of_an_ended_session_is_inactive(auth: FlaskClient, inspector: tuple[str, str]) -> None:
    answer = log_in(auth)
    auth.post("/revoke", data={"token": answer["refresh_token"]})

    assert introspect(auth, answer["access_token"], inspector) == {"active": False}


@pytest.mark.parametrize("form", [{}, {"client_id": "first-party"}])
def test_public_client_may_not_introspect(form: dict[str, str], auth: FlaskClient) -> None:
    response = auth.post("/introspect", data={"token": log_in(auth)["access_token"]} | form)

    assert (response.status_code, response.json and response.json["error"]) == (401, "invalid_client")
