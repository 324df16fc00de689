"""Bad input to POST /token gets a 4xx response as in RFC 6749 section 5.2."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

GOOD = {"username": "student1", "password": "password123"}
FORM = {"content_type": "application/x-www-form-urlencoded"}
JSON = {"content_type": "application/json"}

BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({}, 415, "unsupported_media_type"),
    "empty form": ({"data": "", **FORM}, 400, "invalid_request"),
    "empty JSON": ({"data": "", **JSON}, 400, "invalid_request"),
    "text": ({"data": "username=student1", "content_type": "text/plain"}, 415, "unsupported_media_type"),
    "multipart": ({"data": GOOD, "content_type": "multipart/form-data"}, 415, "unsupported_media_type"),
    "no password": ({"data": {"username": "student1"}}, 400, "invalid_request"),
    "no user name": ({"data": {"password": "password123"}}, 400, "invalid_request"),
    "empty password": ({"data": GOOD | {"password": ""}}, 400, "invalid_request"),
    "empty password in JSON": ({"json": GOOD | {"password": ""}}, 400, "invalid_request"),
    "repeated user name": ({"data": "username=a&username=a&password=b", **FORM}, 400, "invalid_request"),
    "repeated grant type": (
        {"data": "grant_type=password&grant_type=password&username=a&password=b", **FORM},
        400,
        "invalid_request",
    ),
    "repeated user name in JSON": (
        {"data": '{"username": "a", "username": "b", "password": "c"}', **JSON},
        400,
        "invalid_request",
    ),
    "unknown grant": ({"data": {"grant_type": "magic"}}, 400, "unsupported_grant_type"),
    "unknown grant with a password": ({"data": GOOD | {"grant_type": "x"}}, 400, "unsupported_grant_type"),
    "password in the URL": ({"query_string": GOOD}, 400, "invalid_request"),
    "password in the URL and the body": ({"query_string": GOOD, "data": GOOD}, 400, "invalid_request"),
    "broken JSON": ({"data": "{", **JSON}, 400, "invalid_request"),
    "JSON list": ({"json": [GOOD]}, 400, "invalid_request"),
    "JSON null": ({"json": None, **JSON}, 400, "invalid_request"),
    "number as password": ({"json": GOOD | {"password": 1}}, 400, "invalid_request"),
    "object as user name": ({"json": GOOD | {"username": {}}}, 400, "invalid_request"),
    "null as scope": ({"json": GOOD | {"scope": None}}, 400, "invalid_request"),
    "NaN": ({"data": '{"username": NaN, "password": "x"}', **JSON}, 400, "invalid_request"),
    "huge number": ({"data": '{"username": 1' + "0" * 5000 + "}", **JSON}, 400, "invalid_request"),
    "deep JSON": ({"data": "[" * 60_000, **JSON}, 400, "invalid_request"),
    "lone surrogate": ({"data": '{"username": "\\ud800", "password": "x"}', **JSON}, 400, "invalid_request"),
    "invalid UTF-8 in JSON": ({"data": b'{"username": "\xff"}', **JSON}, 400, "invalid_request"),
    "invalid UTF-8 in a form": ({"data": b"username=%ff&password=x", **FORM}, 400, "invalid_request"),
    "raw invalid UTF-8": ({"data": b"username=\xff&password=x", **FORM}, 400, "invalid_request"),
    "NUL in a form": ({"data": "username=a%00b&password=x", **FORM}, 400, "invalid_request"),
    "NUL in JSON": ({"json": GOOD | {"username": "a\0"}}, 400, "invalid_request"),
    "line break in the user name": ({"data": GOOD | {"username": "student1\n"}}, 400, "invalid_request"),
    "long user name": ({"data": GOOD | {"username": "x" * 10_000}}, 400, "invalid_request"),
    "long password": ({"data": GOOD | {"password": "x" * 10_000}}, 400, "invalid_request"),
    "scope with a quote": ({"data": GOOD | {"scope": 'courses:"read'}}, 400, "invalid_request"),
    "many parameters": ({"data": "&".join(f"p{n}=1" for n in range(200)), **FORM}, 400, "invalid_request"),
    "body of 1 MB": ({"data": "x" * 1_000_000, **FORM}, 413, "content_too_large"),
}


@pytest.mark.parametrize(("request_", "status", "error"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_bad_request_is_refused(request_: dict[str, Any], status: int, error: str, auth: FlaskClient) -> None:
    response = auth.post("/token", **request_)

    assert (response.status_code, response.json and response.json["error"]) == (status, error)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"username": "student1"}, "The parameter password is missing."),
        ({"username": "x" * 200, "password": "x"}, "The parameter username is too long."),
        (
            {"username": "\x07", "password": "x"},
            "The parameter username contains characters that are not allowed.",
        ),
    ],
)
def test_error_names_the_parameter(form: dict[str, str], sentence: str, auth: FlaskClient) -> None:
    answer = auth.post("/token", data=form).json

    assert answer == {"error": "invalid_request", "error_description": sentence}


@pytest.mark.parametrize("item", [1, ""], ids=["numbers", "empty strings"])
def test_body_with_many_faults_takes_no_longer_than_one_with_a_single_fault(
    item: object, auth: FlaskClient
) -> None:
    """Validation stops at the first fault: finding all of them would delay other requests."""
    bodies = [GOOD | {"resource": [item] * count} for count in (1, 15_000)]

    def measure(body: dict[str, Any]) -> float:
        started = time.process_time()
        assert auth.post("/token", json=body).status_code == 400
        return time.process_time() - started

    few, many = (min(measure(body) for _ in range(5)) for body in bodies)
    assert many < few + 0.1
