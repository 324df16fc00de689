"""Which scripts of other origins may read the answers of either service."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

import course_app
from course_app.settings import CourseSettings
from flask_resource_server.exceptions import ConfigurationError
from shared.settings import load_settings
from tests.conftest import KeyPair, bearer, open_auth, open_course
from tests.forger import Forger

APP, OTHER_APP = "https://app.example.com", "http://127.0.0.1:3000"


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, cors_origins=(APP, OTHER_APP)) as client:
        yield client


@pytest.fixture
def course(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_course(new_database(), key_pair, cors_origins=(APP, OTHER_APP)) as client:
        yield client


def ask(client: FlaskClient, path: str, origin: str, method: str = "GET", **headers: str) -> Any:
    return client.open(path, method=method, headers={"Origin": origin, **headers})


def preflight(client: FlaskClient, path: str, origin: str, method: str) -> Any:
    wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    return ask(client, path, origin, "OPTIONS", **wanted)


STRANGERS = [
    "https://evil.example.com",
    "https://app.example.com.evil.example.com",
    "https://app.example.com:8443",
    "http://app.example.com",
    "https://app-example.com",
    "https://APP.example.com.",
    "null",
    "*",
    "",
]


@pytest.mark.parametrize("origin", [APP, OTHER_APP])
def test_script_of_an_origin_in_the_settings_may_read(
    origin: str, course: FlaskClient, forger: Forger
) -> None:
    response = ask(course, "/courses", origin, **bearer(forger.sign()))

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert "Origin" in response.headers["Vary"]
    assert "ETag" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", STRANGERS)
def test_script_of_another_origin_may_not(origin: str, course: FlaskClient, forger: Forger) -> None:
    for response in (
        ask(course, "/courses", origin, **bearer(forger.sign())),
        preflight(course, "/courses", origin, "POST"),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers


ENDPOINTS = [
    ("course", "/courses", "POST"),
    ("course", "/courses/1", "PATCH"),
    ("course", "/courses/1", "DELETE"),
    ("course", "/courses/1/enrolment", "PUT"),
    ("course", "/me/courses", "GET"),
    ("auth", "/token", "POST"),
    ("auth", "/revoke", "POST"),
    ("auth", "/users", "POST"),
    ("auth", "/users/me/password", "PUT"),
]


@pytest.mark.parametrize(("service", "path", "method"), ENDPOINTS, indirect=["service"])
def test_browser_is_told_what_it_may_send(path: str, method: str, service: FlaskClient) -> None:
    allowed = preflight(service, path, APP, method)

    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == APP
    assert method in allowed.headers["Access-Control-Allow-Methods"].split(", ")
    assert allowed.headers["Access-Control-Allow-Headers"].lower() == "authorization"
    assert allowed.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    ("service", "path"),
    [
        *(("auth", path) for path in ("/introspect", "/docs", "/metrics", "/readyz", "/tokens")),
        *(("course", path) for path in ("/docs", "/metrics", "/nothing")),
    ],
    indirect=["service"],
)
def test_everything_else_stays_closed(path: str, service: FlaskClient) -> None:
    for response in (ask(service, path, APP), preflight(service, path, APP, "POST")):
        assert "Access-Control-Allow-Origin" not in response.headers


ERRORS: dict[str, tuple[str, str, str, int]] = {
    "no token": ("course", "/courses", "GET", 401),
    "no such course": ("course", "/courses/0x", "GET", 404),
    "bad method": ("course", "/courses", "PUT", 405),
    "bad request": ("auth", "/token", "POST", 415),
}


@pytest.mark.parametrize(
    ("service", "path", "method", "status"), ERRORS.values(), ids=ERRORS, indirect=["service"]
)
def test_script_may_read_errors(path: str, method: str, status: int, service: FlaskClient) -> None:
    response = ask(service, path, APP, method)

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == APP


PUBLIC = [
    ("auth", "/.well-known/jwks.json"),
    ("auth", "/.well-known/oauth-authorization-server"),
    ("auth", "/.well-known/status-list"),
    ("auth", "/.well-known/status-list/1"),
    ("auth", "/openapi.json"),
    ("course", "/.well-known/oauth-protected-resource"),
    ("course", "/openapi.json"),
]


@pytest.mark.parametrize(("service", "path"), PUBLIC, indirect=["service"])
def test_public_documents_are_open_to_all(path: str, service: FlaskClient) -> None:
    response = ask(service, path, "https://anybody.example.com")

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Origin" not in response.headers.get("Vary", ""), "caches keep one answer for all"


def test_without_the_setting_only_public_documents_are_open(
    new_database: Callable[[], str], key_pair: KeyPair, forger: Forger
) -> None:
    with open_course(new_database(), key_pair) as course:
        closed = ask(course, "/courses", APP, **bearer(forger.sign()))
        document = ask(course, "/openapi.json", APP)

    assert "Access-Control-Allow-Origin" not in closed.headers
    assert document.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example.com", "https://app.example.com/", "https://a/b", "HTTPS://A", "ftp://a"],
)
def test_bad_origin_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP} {origin}")

    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        load_settings(CourseSettings)


def test_origins_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP}, {OTHER_APP}")

    assert load_settings(CourseSettings).cors_origins == (APP, OTHER_APP)
    assert course_app.API_PATHS
