"""Which other origins' scripts may read the responses of each service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from course_app.settings import CourseSettings
from flask_resource_server.exceptions import ConfigurationError
from shared import cors
from shared.settings import load_settings
from tests.conftest import KeyPair, bearer, open_auth, open_course
from tests.forger import Forger

APP, OTHER_APP = "https://app.example.com", "http://[::1]:3000"
OWN = "http://127.0.0.1:8081"  # of the default ISSUER
# In lower case and sorted, as browsers send them; scripts may not send the last one.
WANTED = ["authorization", "content-type", "if-match", "if-none-match", "x-forwarded-for"]


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
    wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(WANTED)}
    return ask(client, path, origin, "OPTIONS", **wanted)


def words_of(response: Any, header: str) -> set[str]:
    return set(response.headers.get(header, "").replace(",", " ").split())


STRANGERS = [
    "https://evil.example.com",
    "https://app.example.com.evil.example.com",
    "https://app.example.com:8443",
    "http://app.example.com",
    "https://app-example.com",
    "https://APP.example.com",
    "https://app.example.com.",
    "https://app.example.com/",
    "https://app.example.com, https://evil.example.com",
    "null",
    "*",
    "",
]


@pytest.mark.parametrize("origin", [APP, OTHER_APP])
def test_script_from_a_configured_origin_may_read(origin: str, course: FlaskClient, forger: Forger) -> None:
    response = ask(course, "/courses", origin, **bearer(forger.sign()))

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    exposed = words_of(response, "Access-Control-Expose-Headers")
    assert exposed == {"ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"}
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", STRANGERS)
def test_script_from_another_origin_may_not_read(origin: str, course: FlaskClient, forger: Forger) -> None:
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
def test_preflight_response_lists_the_allowed_methods_and_headers(
    path: str, method: str, service: FlaskClient
) -> None:
    allowed = preflight(service, path, APP, method)

    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == APP
    assert method in allowed.headers["Access-Control-Allow-Methods"].split(", ")
    assert words_of(allowed, "Access-Control-Allow-Headers") == set(WANTED[:-1])
    assert allowed.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    ("service", "path"),
    [
        *(("auth", path) for path in ("/introspect", "/docs", "/metrics", "/readyz", "/tokens")),
        *(("course", path) for path in ("/docs", "/metrics", "/nothing")),
    ],
    indirect=["service"],
)
def test_other_paths_allow_no_origin(path: str, service: FlaskClient) -> None:
    for response in (ask(service, path, APP), preflight(service, path, APP, "POST")):
        assert "Access-Control-Allow-Origin" not in response.headers


ERRORS: dict[str, tuple[str, str, str, int]] = {
    "no token": ("course", "/courses", "GET", 401),
    "missing scope": ("course", "/courses", "POST", 403),
    "no such course": ("course", "/courses/0x", "GET", 404),
    "bad method": ("course", "/courses", "PUT", 405),
    "bad request": ("auth", "/token", "POST", 415),
}


@pytest.mark.parametrize(
    ("service", "path", "method", "status"), ERRORS.values(), ids=ERRORS, indirect=["service"]
)
def test_script_may_read_errors(
    path: str, method: str, status: int, service: FlaskClient, forger: Forger
) -> None:
    token = bearer(forger.sign(scope="courses:read")) if status == 403 else {}
    response = ask(service, path, APP, method, **token)

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == APP
    assert words_of(response, "Vary") == {"Origin"}


def test_script_may_read_the_retry_after_header(
    new_database: Callable[[], str], forger: Forger, tmp_path: Path
) -> None:
    settings = {"jwt_public_key_file": tmp_path / "missing.pem", "cors_origins": (APP,)}
    with open_course(new_database(), None, **settings) as course:
        response = ask(course, "/courses", APP, **bearer(forger.sign()))

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (503, APP)
    assert "Retry-After" in words_of(response, "Access-Control-Expose-Headers")


@pytest.mark.parametrize("origin", [APP, OTHER_APP, "null", None])
@pytest.mark.parametrize("status", [200, 304, 401])
def test_responses_vary_by_origin(
    status: int, origin: str | None, new_database: Callable[[], str], key_pair: KeyPair, forger: Forger
) -> None:
    with open_course(new_database(), key_pair, cors_origins=(APP,)) as course:
        headers = bearer(forger.sign()) if status < 400 else {}
        if status == 304:
            headers["If-None-Match"] = course.get("/courses", headers=headers).headers["ETag"]
        response = course.get("/courses", headers=headers | ({"Origin": origin} if origin else {}))

    assert response.status_code == status
    assert response.headers.get("Access-Control-Allow-Origin") == (APP if origin == APP else None)
    assert words_of(response, "Vary") == {"Origin"}


def test_path_prefix_of_a_proxy_does_not_affect_cors(course: FlaskClient) -> None:
    response = course.get("/courses", base_url="http://localhost/api", headers={"Origin": APP})

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (401, APP)
    assert words_of(response, "Vary") == {"Origin"}


PATHS = {
    "/api": True,
    "/api/crash": True,
    "/api/nothing": True,
    "/apis": False,
    "/API": False,
    "/api/crash/x": False,
    "/api%0A": False,
    "/x/api": False,
}


@pytest.mark.parametrize(("path", "is_open"), PATHS.items())
def test_whole_path_is_compared(path: str, is_open: bool) -> None:
    def crash() -> str:
        raise RuntimeError

    app = Flask(__name__)
    app.add_url_rule("/api/crash", view_func=crash)
    cors.init_app(app, [APP], ["/api", "/api/crash", "/api/nothing"])

    response = app.test_client().get(path, headers={"Origin": APP})

    assert ("Access-Control-Allow-Origin" in response.headers) is is_open
    assert words_of(response, "Vary") == ({"Origin"} if is_open else set())


# Where a login comes from: Sec-Fetch-Site and Origin. Old browsers, and all over http, send only Origin.
LOGINS: list[tuple[str | None, str | None, int]] = [
    *((site, origin, 200) for site in ("cross-site", "same-site", None) for origin in (APP, OTHER_APP)),
    *((site, origin, 403) for site in ("cross-site", "same-site", None) for origin in STRANGERS),
    *((site, None, 403) for site in ("cross-site", "same-site", "unknown", "")),
    *((site, OWN, 403) for site in ("cross-site", "same-site")),
    (None, None, 200),  # curl, or the server of an application
    ("none", None, 200),
    *((site, OWN, 200) for site in ("same-origin", None)),
    (None, "http://localhost", 200),  # the address that the request is sent to, by the Host header
    ("same-origin", "http://192.0.2.1:8081", 200),  # behind a proxy that changes the Host header
    ("same-origin", "null", 200),
]


@pytest.mark.parametrize(("site", "origin", "status"), LOGINS)
def test_login_is_accepted_only_from_own_pages_and_configured_origins(
    site: str | None, origin: str | None, status: int, auth: FlaskClient
) -> None:
    form = {"username": "student1", "password": "password123"}
    sent = {"Sec-Fetch-Site": site, "Origin": origin}
    headers = {name: value for name, value in sent.items() if value is not None}

    assert auth.post("/token", data=form, headers=headers).status_code == status


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
def test_public_documents_may_be_read_from_any_origin(path: str, service: FlaskClient) -> None:
    response = ask(service, path, "https://anybody.example.com")

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Origin" not in response.headers.get("Vary", ""), "caches keep one response for all"


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
    [
        "*",
        "null",
        "app.example.com",
        "ftp://a",
        "HTTPS://a",
        "https://A",
        "https://a/",
        "https://a/b",
        "https://a?",
        "https://a#",
        "https://@a",
        "https://user@a",
        "https://*.example.com",
        "https://(.*)",
        "https://a.*",
        "https://a\\.example.com",
        "https://stra\u00dfe.example.com",
        "https://a:",
        "https://a:0",
        "https://a:08443",
        "https://a:65536",
        "https://a:*",
        "https://a:443",
        "http://a:80",
        "http://[::1",
        "http://[a]",
    ],
)
def test_bad_origin_in_the_settings_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP} {origin}")

    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        load_settings(CourseSettings)


def test_setting_may_list_several_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP}, {OTHER_APP}")

    assert load_settings(CourseSettings).cors_origins == (APP, OTHER_APP)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "http://127.0.0.1", "https://xn--strae-oqa.example.com", "https://a:80"],
)
def test_good_origin_in_the_settings_is_accepted(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origin)

    assert load_settings(CourseSettings).cors_origins == (origin,)
