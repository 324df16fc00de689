"""Confidential clients: how they authenticate, and what their tokens can be used for."""

from base64 import b64encode
from typing import Any
from urllib.parse import quote_plus

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import (
    add_client,
    bearer,
    both_databases,
    log_in,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER, NEWCOMER

pytestmark = both_databases

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
STUDENT = {"username": "student1", "password": "password123"}


@pytest.fixture
def reports(auth: FlaskClient) -> tuple[str, str]:
    return add_client(auth, "reports", "--scope", "courses:read", "--scope", "users:manage")


def ask(client: FlaskClient, credentials: tuple[str, str] | None = None, **changes: Any) -> TestResponse:
    return client.post("/token", data={"grant_type": "client_credentials"} | changes, auth=credentials)


def test_client_gets_a_token_of_its_own(auth: FlaskClient, reports: tuple[str, str]) -> None:
    response = ask(auth, reports)

    assert response.json
    assert list(response.json) == ["access_token", "token_type", "expires_in", "scope"], "no refresh token"
    claims = read_claims(response.json["access_token"])
    assert claims["sub"] == claims["client_id"] == "reports"
    assert claims["aud"] == [ISSUER, COURSES, NEWCOMER]
    assert claims["scope"] == response.json["scope"] == "courses:read users:manage"
    assert not {"sid", "username"} & set(claims)


def test_secret_may_be_sent_in_the_body(auth: FlaskClient, reports: tuple[str, str]) -> None:
    client_id, secret = reports

    assert ask(auth, client_id=client_id, client_secret=secret).status_code == 200
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    assert auth.post("/token", json=body).status_code == 200


def test_client_id_in_the_body_must_match_the_basic_credentials(
    auth: FlaskClient, reports: tuple[str, str]
) -> None:
    assert ask(auth, reports, client_id="reports").status_code == 200
    assert ask(auth, reports, client_id="other").status_code == 400


def test_basic_credentials_are_form_decoded(auth: FlaskClient, reports: tuple[str, str]) -> None:
    """RFC 6749 section 2.3.1: `%72` is an `r`."""
    assert ask(auth, ("%72eports", quote_plus(reports[1]))).status_code == 200


def basic(text: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}}


# Bad credentials and where they are sent; `{}` stands for the real secret.
BAD_CREDENTIALS: dict[str, dict[str, Any]] = {
    "wrong secret": basic("reports:wrong"),
    "truncated secret": basic("reports:{:.42}"),
    "empty secret": basic("reports:"),
    "no colon": basic("reports"),
    "unknown client": basic("nobody:{}"),
    "client in capitals": basic("REPORTS:{}"),
    "no client": basic(":{}"),
    "NUL in the client": basic("reports\0:{}"),
    "NUL in the secret": basic("reports:{}\0"),
    "the public client with a secret": basic("first-party:{}"),
    "the public client without a colon": basic("first-party"),
    "colon alone, and another client in the body": {**basic(":"), "data": {"client_id": "reports"}},
    "no Basic credentials": {"headers": {"Authorization": "Basic"}},
    "not base64": {"headers": {"Authorization": "Basic !!!"}},
    "not UTF-8": {"headers": {"Authorization": "Basic /////w=="}},
    "another scheme": {"headers": {"Authorization": "Bearer a.b.c"}},
    "wrong secret in the body": {"data": {"client_id": "reports", "client_secret": "wrong"}},
    "no secret in the body": {"data": {"client_id": "reports"}},
    "secret without a client in the body": {"data": {"client_secret": "{}"}},
    "unknown client in the body": {"data": {"client_id": "nobody"}},
    "empty secret in the body": {"data": {"client_id": "reports", "client_secret": ""}},
    "assertion": {"data": {"client_assertion": "a.b.c", "client_assertion_type": ASSERTION_TYPE}},
    "assertion without a type": {"data": {"client_assertion": "a.b.c"}},
    "type without an assertion": {"data": {"client_assertion_type": ASSERTION_TYPE}},
    "assertion of the public client": {"data": {"client_assertion": "a.b.c", "client_id": "first-party"}},
}


# Where clients authenticate, with the other parameters of the request.
ENDPOINTS = [
    ("/token", {"grant_type": "client_credentials"}),
    ("/token", STUDENT),
    ("/token", {"grant_type": "refresh_token", "refresh_token": "x"}),
    ("/revoke", {"token": "x"}),
    ("/introspect", {"token": "x"}),
]


@pytest.mark.parametrize("bad", BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS)
def test_bad_client_credentials_are_refused_everywhere(
    bad: dict[str, Any], auth: FlaskClient, reports: tuple[str, str]
) -> None:
    headers = dict(bad.get("headers", {}))
    if "{" in b64_text(headers):
        headers = basic(b64_text(headers).format(reports[1]))["headers"]
    data = {name: value.format(reports[1]) for name, value in bad.get("data", {}).items()}

    for path, form in ENDPOINTS:
        response = auth.post(path, data=form | data, headers=headers)

        assert response.status_code == 401, path
        assert response.headers["WWW-Authenticate"] == 'Basic realm="clients"'
        assert response.json == {
            "error": "invalid_client",
            "error_description": "The client is unknown, or its credentials are missing or wrong.",
        }


def b64_text(headers: dict[str, str]) -> str:
    from base64 import b64decode

    scheme, _, text = headers.get("Authorization", "").partition(" ")
    try:
        return b64decode(text, validate=True).decode() if scheme == "Basic" else ""
    except ValueError:
        return ""


@pytest.mark.parametrize(
    ("in_header", "form"),
    [
        (True, {"client_id": "reports", "client_secret": "{}"}),
        (True, {"client_assertion": "a.b.c", "client_assertion_type": ASSERTION_TYPE}),
        (True, {"client_assertion": "a.b.c"}),
        (False, {"client_id": "reports", "client_secret": "{}", "client_assertion": "a.b.c"}),
    ],
    ids=["secret twice", "secret and assertion", "assertion without a type", "both in the body"],
)
def test_two_authentication_methods_at_once_are_refused(
    in_header: bool, form: dict[str, str], auth: FlaskClient, reports: tuple[str, str]
) -> None:
    form = {name: value.format(reports[1]) for name, value in form.items()}
    response = ask(auth, reports if in_header else None, **form)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("form", [{}, {"client_id": "first-party"}])
def test_public_client_cannot_get_a_token_of_its_own(form: dict[str, Any], auth: FlaskClient) -> None:
    response = ask(auth, None, **form)

    assert (response.status_code, response.json and response.json["error"]) == (400, "unauthorized_client")


# How libraries log in for a client without a secret: the credentials of HTTP Basic, and the body.
PUBLIC_LOGINS = {
    "Swagger UI": (":", "grant_type=password&scope=&username=student1&password=password123"),
    "Swagger UI with a client ID": (
        "first-party:",
        "grant_type=password&scope=&username=student1&password=password123",
    ),
    "requests-oauthlib": ("first-party:", "grant_type=password&username=student1&password=password123"),
    "requests-oauthlib with include_client_id": (
        None,
        "grant_type=password&username=student1&password=password123&client_id=first-party&client_secret=",
    ),
    "client-oauth2": ("first-party:", "username=student1&password=password123&grant_type=password"),
    "client-oauth2 without a client ID": (
        ":",
        "scope=courses%3Aread&username=student1&password=password123&grant_type=password",
    ),
    "client ID in the body": (":", "client_id=first-party&username=student1&password=password123"),
    "encoded client ID": ("first%2Dparty:", "username=student1&password=password123"),
}


@pytest.mark.parametrize(("credentials", "body"), PUBLIC_LOGINS.values(), ids=PUBLIC_LOGINS)
def test_public_client_can_log_in_the_way_libraries_do(
    credentials: str | None, body: str, auth: FlaskClient
) -> None:
    headers = basic(credentials)["headers"] if credentials else {}
    media_type = "application/x-www-form-urlencoded;charset=UTF-8"

    response = auth.post("/token", data=body, headers=headers, content_type=media_type)

    assert response.status_code == 200, response.text
    assert response.json
    assert read_claims(response.json["access_token"])["client_id"] == "first-party"


@pytest.mark.parametrize("credentials", ["first-party:", ":"])
def test_public_client_refreshes_and_logs_out_with_an_empty_secret(
    credentials: str, auth: FlaskClient
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": log_in(auth)["refresh_token"]}
    answer = auth.post("/token", data=form, **basic(credentials)).json
    assert answer

    response = auth.post("/revoke", data={"token": answer["refresh_token"]}, **basic(credentials))

    assert response.status_code == 200
    me = auth.get("/users/me", headers=bearer(answer["access_token"]))
    assert me.status_code == 401


@pytest.mark.parametrize("credentials", ["first-party:", ":"])
def test_public_client_with_an_empty_secret_may_not_introspect(credentials: str, auth: FlaskClient) -> None:
    response = auth.post("/introspect", data={"token": log_in(auth)["access_token"]}, **basic(credentials))

    assert (response.status_code, response.json and response.json["error"]) == (401, "invalid_client")


def test_public_client_may_send_its_client_id(auth: FlaskClient) -> None:
    answer = log_in(auth, client_id="first-party")

    assert read_claims(answer["access_token"])["client_id"] == "first-party"


def test_client_can_narrow_its_scope_but_not_widen_it(auth: FlaskClient, reports: tuple[str, str]) -> None:
    narrow, wide = ask(auth, reports, scope="courses:read"), ask(auth, reports, scope="courses:write")

    assert narrow.json
    assert narrow.json["scope"] == "courses:read"
    assert (wide.status_code, wide.json and wide.json["error"]) == (400, "invalid_scope")


def test_client_is_limited_to_its_resources(auth: FlaskClient) -> None:
    reader = add_client(auth, "reader", "--scope", "courses:read", "--resource", COURSES)

    own, named, other = (
        ask(auth, reader),
        ask(auth, reader, resource=COURSES),
        ask(auth, reader, resource=ISSUER),
    )

    for response in (own, named):
        assert response.json
        assert read_claims(response.json["access_token"])["aud"] == [COURSES]
    assert (other.status_code, other.json and other.json["error"]) == (400, "invalid_target")


def test_client_logs_users_in_within_its_own_scopes_and_resources(auth: FlaskClient) -> None:
    credentials = add_client(auth, "website", "--scope", "courses:read", "--resource", COURSES)
    teacher = {"username": "teacher1", "password": "password456"}

    answer = auth.post("/token", data=teacher, auth=credentials).json
    wide = auth.post("/token", data=teacher | {"scope": "courses:write"}, auth=credentials)

    assert answer
    claims = read_claims(answer["access_token"])
    assert (claims["client_id"], claims["scope"], claims["aud"]) == ("website", "courses:read", [COURSES])
    assert claims["username"] == "teacher1"
    assert (wide.status_code, wide.json and wide.json["error"]) == (400, "invalid_scope")


def test_clients_token_is_accepted_by_both_services(
    auth: FlaskClient, course: FlaskClient, reports: tuple[str, str]
) -> None:
    answer = ask(auth, reports).json
    assert answer
    headers = bearer(answer["access_token"])

    assert course.get("/courses", headers=headers).status_code == 200
    assert auth.get("/users", headers=headers).status_code == 200
    assert auth.get("/users/me", headers=headers).status_code == 401, "a client is not a user"


def test_removed_client_and_its_tokens_are_refused(auth: FlaskClient, reports: tuple[str, str]) -> None:
    own = ask(auth, reports).json
    login = auth.post("/token", data=STUDENT, auth=reports).json
    assert own
    assert login

    assert run_command(auth, "clients", "remove", "reports").exit_code == 0

    assert ask(auth, reports).status_code == 401
    assert auth.get("/users", headers=bearer(own["access_token"])).status_code == 401
    assert auth.get("/users/me", headers=bearer(login["access_token"])).status_code == 401


def test_secret_has_256_bits_and_is_not_listed(auth: FlaskClient, reports: tuple[str, str]) -> None:
    listed = run_command(auth, "clients", "list", "--json").stdout

    assert "reports" in listed
    assert reports[1] not in listed
    assert len(reports[1]) == 43, "256 bits in base64url"
