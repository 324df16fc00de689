"""An error that a view raises with Flask's own functions keeps its status, headers and description."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort, request
from flask.testing import FlaskClient
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import (
    Conflict,
    HTTPException,
    SecurityError,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from werkzeug.http import HTTP_STATUS_CODES

from flask_resource_server import ResourceServer
from shared import service
from shared.settings import Settings
from tests.conftest import KeyPair
from tests.forger import COURSES, ISSUER

SECRET = "what-a-client-sent"


class SeatTaken(HTTPException):
    """A custom exception of the application's author, with its own description."""

    code = 409
    description = "Seat taken."


@pytest.fixture
def app(key_pair: KeyPair) -> Flask:
    app = Flask(__name__, static_folder=None)
    service.install_defaults(app, Settings(), checks={}, ages={})
    ResourceServer(app, issuer=ISSUER, resource=COURSES, public_key_file=key_pair.public_file)
    return app


def ask(app: Flask, view: Callable[[], Any], **options: Any) -> Any:
    app.add_url_rule("/view", "view", view, methods=["GET", "POST"])
    client: FlaskClient = app.test_client()
    return client.open("/view", **options)


CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "content_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    418: "i_m_a_teapot",
    422: "unprocessable_content",
    423: "locked",
    428: "precondition_required",
    429: "too_many_requests",
    431: "request_header_fields_too_large",
    500: "server_error",
    501: "not_implemented",
    502: "bad_gateway",
    503: "temporarily_unavailable",
    504: "gateway_timeout",
}


@pytest.mark.parametrize(("status", "error"), CODES.items(), ids=map(str, CODES))
def test_status_has_its_own_code(status: int, error: str, app: Flask) -> None:
    response = ask(app, lambda: abort(status))

    assert (response.status_code, response.json["error"]) == (status, error)
    assert list(response.json) == ["error", "error_description"]
    sentence = response.json["error_description"]
    assert sentence.endswith(".")
    assert len(sentence) < 100, "werkzeug's own sentences are longer, and meant for a user at a browser"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 429, 500, 503])
def test_custom_description_is_kept(status: int, app: Flask) -> None:
    response = ask(app, lambda: abort(status, description="Seat taken."))

    assert response.json == {"error": CODES[status], "error_description": "Seat taken."}


def test_description_of_a_custom_exception_is_kept(app: Flask) -> None:
    def book() -> None:
        raise SeatTaken

    assert ask(app, book).json == {"error": "conflict", "error_description": "Seat taken."}


def test_unknown_4xx_status_gets_the_code_invalid_request(app: Flask) -> None:
    class Odd(HTTPException):
        code = 499

    assert 499 not in HTTP_STATUS_CODES

    def fail() -> None:
        raise Odd

    response = ask(app, fail)

    assert (response.status_code, response.json["error"]) == (499, "invalid_request")


HEADERS: dict[str, tuple[HTTPException, str, str]] = {
    "challenge": (
        Unauthorized(www_authenticate=WWWAuthenticate("basic", {"realm": "a b"})),
        "WWW-Authenticate",
        'Basic realm="a b"',
    ),
    "retry after a 429": (TooManyRequests(retry_after=7), "Retry-After", "7"),
    "retry after a 503": (ServiceUnavailable(retry_after=8), "Retry-After", "8"),
}


@pytest.mark.parametrize(("error", "name", "value"), HEADERS.values(), ids=HEADERS)
def test_headers_of_an_exception_are_kept(error: HTTPException, name: str, value: str, app: Flask) -> None:
    def fail() -> None:
        raise error

    response = ask(app, fail)

    assert response.headers.getlist(name) == [value]
    assert response.content_type == "application/json"
    assert response.content_length == len(response.data)


def test_headers_added_by_a_custom_exception_are_kept(app: Flask) -> None:
    class Moved(Conflict):
        def get_headers(self, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
            return [
                *super().get_headers(*arguments, **options),
                ("X-Seat", "12"),
                ("Link", "</a>"),
                ("Link", "</b>"),
            ]

    def fail() -> None:
        raise Moved

    response = ask(app, fail)

    assert response.headers["X-Seat"] == "12"
    assert response.headers.getlist("Link") == ["</a>", "</b>"]
    assert response.headers.getlist("Content-Type") == ["application/json"]


def test_401_without_a_challenge_gets_a_bearer_challenge(app: Flask) -> None:
    response = ask(app, lambda: abort(401))

    assert response.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")


def test_response_passed_to_abort_is_kept(app: Flask) -> None:
    response = ask(app, lambda: abort(Response("mine", 409, content_type="text/plain")))

    assert (response.status_code, response.text, response.mimetype) == (409, "mine", "text/plain")


def test_response_inside_an_exception_is_kept(app: Flask) -> None:
    def fail() -> None:
        raise Conflict(response=Response("mine", 409, content_type="text/plain"))

    response = ask(app, fail)

    assert (response.status_code, response.text) == (409, "mine")


def test_redirect_to_a_trailing_slash_is_kept(app: Flask) -> None:
    app.add_url_rule("/folder/", "folder", lambda: "")

    response = app.test_client().get("/folder")

    assert response.status_code == 308
    assert response.headers["Location"].endswith("/folder/")


def refuse_host() -> None:
    raise SecurityError(f"Host {SECRET!r} is not trusted.")


QUOTING: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "missing parameter": (
        lambda: request.form[request.args["name"]],
        {"query_string": {"name": SECRET}},
    ),
    "body that is not JSON": (
        lambda: request.json,
        {"data": f"{SECRET}", "content_type": "application/json"},
    ),
    "body that is not UTF-8": (lambda: request.json, {"data": b'"\xff"', "content_type": "application/json"}),
    "untrusted host": (refuse_host, {}),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(("view", "options"), QUOTING.values(), ids=QUOTING)
def test_client_input_is_not_quoted(
    view: Callable[[], Any], options: dict[str, Any], debug: bool, app: Flask
) -> None:
    app.debug = debug

    response = ask(app, view, method="POST", **options)

    assert response.status_code == 400
    assert response.json == {"error": "invalid_request", "error_description": "The request is malformed."}


def test_traceback_of_a_failing_view_is_logged_without_client_input(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def fail() -> None:
        raise RuntimeError

    response = ask(app, fail, method="POST", query_string={"password": SECRET}, data={"password": SECRET})

    assert response.json["error"] == "server_error"
    assert "Exception on /view [POST]" in caplog.text
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text
