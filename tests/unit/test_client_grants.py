"""A client can use only the grants it is registered for, and cannot be registered for unsafe ones."""

import json
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from tests.conftest import KeyPair, log_in, open_auth, run_command
from tests.sign_in import add_application, get_tokens, sign_in

STUDENT = {"username": "student1", "password": "password123"}


def error_of(client: FlaskClient, form: dict[str, str], auth: tuple[str, str] | None = None) -> str:
    response = client.post("/token", data=form, auth=auth)
    assert response.json
    return str(response.json.get("error", "none"))


def test_application_cannot_use_the_password_or_client_credentials_grant(auth: FlaskClient) -> None:
    application = add_application(auth, "web", "--refresh-token", "always")

    assert error_of(auth, STUDENT, application.credentials) == "unauthorized_client"
    form = {"grant_type": "client_credentials"}
    assert error_of(auth, form, application.credentials) == "unauthorized_client"


def test_service_cannot_sign_users_in(auth: FlaskClient) -> None:
    result = json.loads(run_command(auth, "clients", "add", "job", "--json").stdout)
    credentials = (result["client_id"], result["client_secret"])

    assert error_of(auth, STUDENT, credentials) == "unauthorized_client"
    form = {"grant_type": "authorization_code", "code": "x", "redirect_uri": "x", "code_verifier": "x" * 43}
    assert error_of(auth, form, credentials) == "unauthorized_client"
    assert auth.get("/authorize?client_id=job&redirect_uri=https://job.example.com").status_code == 400


def test_client_no_longer_allowed_refresh_tokens_cannot_refresh(auth: FlaskClient) -> None:
    application = add_application(auth, "web", "--refresh-token", "always")
    sign_in(auth)
    form = {"grant_type": "refresh_token", "refresh_token": get_tokens(auth, application)["refresh_token"]}

    assert run_command(auth, "clients", "set", "web", "--refresh-token", "never").exit_code == 0

    assert error_of(auth, form, application.credentials) == "unauthorized_client"


def test_password_grant_can_be_turned_off(new_database: Callable[[], str], key_pair: KeyPair) -> None:
    with open_auth(new_database(), key_pair, password_grant="off") as auth:
        for form in (STUDENT, STUDENT | {"grant_type": "password"}):
            assert error_of(auth, form) == "unsupported_grant_type"
        metadata = auth.get("/.well-known/openid-configuration").json
        assert metadata
        assert "password" not in metadata["grant_types_supported"]
        sign_in(auth)
        assert "access_token" in get_tokens(auth, add_application(auth))


def test_password_login_without_a_client_needs_the_first_party_client(auth: FlaskClient) -> None:
    log_in(auth)

    assert run_command(auth, "clients", "remove", "first-party").exit_code == 0

    assert error_of(auth, STUDENT) == "invalid_client"


BAD_URIS = [
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "myapp:/cb",
    "http://app.example.com/cb",
    "https://app.example.com/cb#fragment",
    "https://user@app.example.com/cb",
    "https://*.example.com/cb#",
    "https:///cb",
    "//app.example.com/cb",
    "/cb",
    "app.example.com/cb",
    "https://app.example.com/a b",
    "https://app.example.com/ä",
    "https://app.example.com/\ncb",
    "https://app.example.com:99999/cb",
    "https://[::1/cb",
    "https://app.example.com/" + "x" * 2048,
    "",
]


@pytest.mark.parametrize("option", ["--redirect-uri", "--post-logout-redirect-uri"])
@pytest.mark.parametrize("uri", BAD_URIS)
def test_unsafe_redirect_uri_is_not_registered(uri: str, option: str, auth: FlaskClient) -> None:
    good = ["--redirect-uri", "https://app.example.com/cb"]

    result = run_command(auth, "clients", "add", "app", *good, option, uri)

    assert result.exit_code == 1, result.output


GOOD_URIS = [
    "https://app.example.com/cb",
    "https://app.example.com:8443/cb?x=1",
    "http://127.0.0.1/cb",
    "http://[::1]:3000/cb",
    "http://localhost:3000/cb",
    "com.example.app:/cb",
]


@pytest.mark.parametrize("uri", GOOD_URIS)
def test_safe_redirect_uri_is_registered(uri: str, auth: FlaskClient) -> None:
    result = run_command(auth, "clients", "add", "app", "--redirect-uri", uri, "--public")

    assert result.exit_code == 0, result.output
    shown = json.loads(run_command(auth, "clients", "show", "app", "--json").stdout)
    assert shown["redirect_uris"] == [uri]


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "public service": (("--public",), "cannot use client_credentials"),
    "public with client_credentials": (
        ("--public", "--redirect-uri", "https://app.example.com/cb", "--grant", "client_credentials"),
        "cannot use client_credentials",
    ),
    "public with keys": (("--public", "--jwks-uri", "https://app.example.com/jwks"), "has no keys"),
    "empty name": (("--name", " "), "printable"),
    "long name": (("--name", "x" * 129), "printable"),
    "name with a control character": (("--name", "a\x1b[31m"), "printable"),
    "unknown refresh mode": (("--refresh-token", "often"), "never"),
}


@pytest.mark.parametrize(("options", "text"), REFUSED.values(), ids=REFUSED)
def test_invalid_client_is_not_registered(options: tuple[str, ...], text: str, auth: FlaskClient) -> None:
    result = run_command(auth, "clients", "add", "app", *options)

    assert result.exit_code in {1, 2}
    assert text in result.stderr
    assert "There is no client" in run_command(auth, "clients", "show", "app").stderr


def test_set_changes_only_the_given_options(auth: FlaskClient) -> None:
    add_application(auth, "app", "--backchannel-logout-uri", "https://app.example.com/out")

    options = ("--redirect-uri", "https://new.example.com/cb", "--no-backchannel-logout-uri")
    changed = run_command(auth, "clients", "set", "app", *options)

    assert changed.exit_code == 0, changed.output
    shown = json.loads(run_command(auth, "clients", "show", "app", "--json").stdout)
    assert shown["redirect_uris"] == ["https://new.example.com/cb"]
    assert shown["backchannel_logout_uri"] is None
    assert (shown["scopes"], shown["grant_types"]) == (
        ["courses:read"],
        ["authorization_code", "refresh_token"],
    )
