"""Clients use the grants that they are registered for, and nobody the password grant where it is off."""

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from tests.conftest import KeyPair, bearer, log_in, open_auth, run_command
from tests.sign_in import Application, add_application, get_tokens, sign_in

PASSWORD = {"grant_type": "password", "username": "student1", "password": "password123"}
FORMS = {
    "authorization_code": {
        "code": "x" * 43,
        "redirect_uri": "https://a.example.com/",
        "code_verifier": "v" * 43,
    },
    "refresh_token": {"refresh_token": "x" * 86},
    "client_credentials": {},
    "password": PASSWORD,
}
# By options of `clients add`: the grants that the client may use.
CLIENTS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "web": (("--redirect-uri", "https://a.example.com/"), {"authorization_code", "refresh_token"}),
    "web without refresh": (
        ("--redirect-uri", "https://a.example.com/", "--refresh-token", "never"),
        {"authorization_code"},
    ),
    "service": ((), {"client_credentials"}),
    "password": (("--grant", "password"), {"password", "refresh_token"}),
    "all": (
        ("--redirect-uri", "https://a.example.com/", "--grant", "password", "--grant", "client_credentials"),
        set(FORMS),
    ),
}


@pytest.mark.parametrize(("options", "expected"), CLIENTS.values(), ids=CLIENTS)
def test_client_uses_the_grants_that_it_is_registered_for(
    options: tuple[str, ...], expected: set[str], auth: FlaskClient
) -> None:
    result = run_command(auth, "clients", "add", "app", *options)
    credentials = ("app", result.stdout.split()[-1])

    for grant, form in FORMS.items():
        answer = auth.post("/token", data=form | {"grant_type": grant}, auth=credentials)
        refusal = {
            "error": "unauthorized_client",
            "error_description": "The client is not registered for this grant type.",
        }
        assert (answer.json == refusal) == (grant not in expected), grant


def test_login_without_a_client_needs_the_first_party_one(auth: FlaskClient) -> None:
    assert run_command(auth, "clients", "remove", "first-party").exit_code == 0

    answer = auth.post("/token", data=PASSWORD)

    assert (answer.status_code, answer.json and answer.json["error"]) == (401, "invalid_client")


def test_refused_grant_verifies_no_password(auth: FlaskClient) -> None:
    """It would be a place for guesses that nobody expects, though they would count."""
    web = add_application(auth)

    answers = [
        auth.post("/token", data=PASSWORD | {"password": password}, auth=web.credentials)
        for password in ("password123", "wrong")
    ]

    assert answers[0].data == answers[1].data


def test_client_that_lost_its_refresh_tokens_refreshes_no_more(auth: FlaskClient) -> None:
    web: Application = add_application(auth)
    sign_in(auth)
    tokens = get_tokens(auth, web, scope="openid offline_access")
    assert run_command(auth, "clients", "set", "web", "--refresh-token", "never").exit_code == 0

    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer = auth.post("/token", data=form, auth=web.credentials)

    assert (answer.status_code, answer.json and answer.json["error"]) == (400, "unauthorized_client")


# PASSWORD_GRANT=off


@pytest.fixture
def off(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, password_grant="off") as client:
        yield client


@pytest.mark.parametrize("encoding", ["data", "json"])
@pytest.mark.parametrize("form", [PASSWORD, {k: v for k, v in PASSWORD.items() if k != "grant_type"}])
def test_password_grant_is_off_for_everybody(form: dict[str, str], encoding: str, off: FlaskClient) -> None:
    run_command(off, "clients", "add", "app", "--grant", "password", "--public")

    for client_id in ({}, {"client_id": "first-party"}, {"client_id": "app"}):
        answer = off.post("/token", **{encoding: form | client_id})
        assert (answer.status_code, answer.json and answer.json["error"]) == (400, "unsupported_grant_type")


def test_password_grant_that_is_off_is_not_in_the_metadata(auth: FlaskClient, off: FlaskClient) -> None:
    path = "/.well-known/openid-configuration"
    grants = [client.get(path).get_json()["grant_types_supported"] for client in (auth, off)]

    assert set(grants[0]) - set(grants[1]) == {"password"}
    assert set(grants[1]) == {"authorization_code", "refresh_token", "client_credentials"}


def test_people_sign_in_at_the_page_where_the_password_grant_is_off(off: FlaskClient) -> None:
    web = add_application(off)
    sign_in(off)

    tokens = get_tokens(off, web)

    assert off.get("/users/me", headers=bearer(tokens["access_token"])).status_code == 200


def test_password_grant_is_on_unless_said_otherwise(auth: FlaskClient) -> None:
    assert log_in(auth)
