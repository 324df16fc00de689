"""Every error has the same JSON format, and every response has the security headers."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from auth_app.models import User
from tests.conftest import bearer, both_databases, change_row, get_token
from tests.forger import Forger

ERRORS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "unknown address": ("GET", "/nothing", {}, 404, "not_found"),
    "extra slash": ("GET", "/courses/", {}, 404, "not_found"),
    "NUL in the address": ("GET", "/%00", {}, 404, "not_found"),
    "invalid UTF-8 in the address": ("GET", "/%ff", {}, 404, "not_found"),
    "wrong method": ("DELETE", "/courses", {}, 405, "method_not_allowed"),
    "unknown method": ("BREW", "/courses", {}, 405, "method_not_allowed"),
    "wrong method for the docs": ("POST", "/docs", {}, 405, "method_not_allowed"),
    "large body": ("GET", "/courses", {"data": "x" * 70_000}, 413, "content_too_large"),
    "large body, no route": ("POST", "/nothing", {"data": "x" * 70_000}, 413, "content_too_large"),
    "path outside the assets": ("GET", "/docs/swagger-ui/../../x", {}, 404, "not_found"),
    "encoded path outside the assets": ("GET", "/docs/swagger-ui/%2e%2e/__init__.py", {}, 404, "not_found"),
}


@pytest.mark.parametrize(("method", "path", "request_", "status", "error"), ERRORS.values(), ids=ERRORS)
def test_error_has_the_common_format(
    method: str, path: str, request_: dict[str, Any], status: int, error: str, course: FlaskClient
) -> None:
    response = course.open(path, method=method, **request_)

    assert response.status_code == status
    assert response.content_type == "application/json"
    assert response.json
    assert list(response.json) == ["error", "error_description"]
    assert response.json["error"] == error


def test_405_lists_the_allowed_methods(course: FlaskClient) -> None:
    response = course.delete("/courses")

    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_415_names_the_content_type_as_the_cause(auth: FlaskClient) -> None:
    response = auth.post("/token", data="x", content_type="text/plain")

    assert response.json == {
        "error": "unsupported_media_type",
        "error_description": "This URL does not accept a request body of this Content-Type.",
    }


def test_internal_error_is_a_500_without_details(auth: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    token = get_token(auth)
    change_row(auth, sa.update(User).values(roles=sa.text("'{'")))

    response = auth.get("/users/me", headers=bearer(token))

    assert response.status_code == 500
    assert response.json == {
        "error": "server_error",
        "error_description": "An internal error occurred. The service has logged it.",
    }
    assert "JSONDecodeError" in caplog.text, "the operator sees the trace in the log"


@both_databases
def test_service_whose_tables_are_missing_is_not_ready(
    course: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert course.get("/readyz").json == {"status": "ok"}
    drop_tables(course)

    response = course.get("/readyz")

    assert (response.status_code, response.json and response.json["error"]) == (
        503,
        "temporarily_unavailable",
    )
    assert "not ready: database" in caplog.text
    assert course.get("/healthz").status_code == 200


def check_common_headers(headers: Headers) -> None:
    assert "default-src 'none'; " in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] in {"no-store", "no-cache"}


@pytest.mark.parametrize("path", ["/openapi.json", "/nothing", "/courses", "/healthz"])
def test_json_responses_have_security_headers(path: str, course: FlaskClient) -> None:
    response = course.get(path)

    assert response.is_json
    check_common_headers(response.headers)
    assert {"X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"}.isdisjoint(
        response.headers.keys()
    )


def test_304_response_has_the_same_security_policy(course: FlaskClient, forger: Forger) -> None:
    first = course.get("/courses", headers=bearer(forger.sign()))
    headers = bearer(forger.sign()) | {"If-None-Match": first.headers["ETag"]}
    again = course.get("/courses", headers=headers)

    assert again.status_code == 304
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/static/docs.js", "/docs/swagger-ui/swagger-ui.css"])
def test_pages_have_security_headers(path: str, course: FlaskClient) -> None:
    headers = course.get(path).headers

    check_common_headers(headers)
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_home_page_redirects_to_the_docs_page(auth: FlaskClient) -> None:
    response = auth.get("/", follow_redirects=True)

    assert response.request.path == "/docs"
    assert response.status_code == 200


def test_options_request_needs_no_token(course: FlaskClient) -> None:
    response = course.options("/courses")

    assert response.status_code == 200
    assert response.data == b""


def test_tokens_and_passwords_are_not_logged(
    auth: FlaskClient, course: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    token = get_token(auth)
    auth.post("/token", data={"username": "student1", "password": "a-wrong-password"})
    drop_tables(course)
    course.get("/courses", headers=bearer(token))

    assert caplog.text
    assert token not in caplog.text
    assert "password" not in caplog.text


def drop_tables(client: FlaskClient) -> None:
    with client.application.app_context():
        database = client.application.extensions["sqlalchemy"]
        with database.engine.begin() as connection:
            for table in reversed(database.metadata.sorted_tables):
                connection.execute(sa.text(f"DROP TABLE {table.name}"))
