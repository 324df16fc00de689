"""course_app's docs page offers sign-in if a client is registered for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from auth_app.accounts.roles import SCOPES
from course_app import SCOPES as ASKED
from tests.conftest import KeyPair, open_course

ISSUER = "https://login.example.com/tenant"
MOUNTED: dict[str, Any] = {"environ_overrides": {"SCRIPT_NAME": "/prefix"}}


@pytest.fixture
def docs(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_course(new_database(), key_pair, issuer=ISSUER, docs_client_id="docs") as client:
        yield client


def test_document_offers_a_token_or_a_sign_in(docs: FlaskClient) -> None:
    document: Any = docs.get("/openapi.json").json
    schemes = document["components"]["securitySchemes"]

    validate(document)
    assert list(schemes) == ["bearer", "sign-in"]
    assert schemes["sign-in"]["flows"] == {
        "authorizationCode": {
            "authorizationUrl": f"{ISSUER}/authorize",
            "tokenUrl": f"{ISSUER}/token",
            "scopes": ASKED,
        }
    }
    assert document["paths"]["/courses"]["get"]["security"] == [
        {"bearer": ["courses:read"]},
        {"sign-in": ["courses:read"]},
    ]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_docs_page_requests_every_scope_but_user_management() -> None:
    assert set(ASKED) == SCOPES - {"users:manage"}


def test_docs_page_may_connect_to_the_issuer_and_open_a_popup(docs: FlaskClient) -> None:
    headers = docs.get("/docs").headers

    assert "; connect-src 'self' https://login.example.com; " in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
    assert docs.get("/docs/oauth2-redirect").headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    assert docs.get("/").headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_redirect_uri_includes_the_path_prefix(docs: FlaskClient) -> None:
    assert 'data-redirect="/prefix/docs/oauth2-redirect"' in docs.get("/docs", **MOUNTED).text
    assert 'src="/prefix/docs/static/oauth2_redirect.js"' in docs.get("/docs/oauth2-redirect", **MOUNTED).text


def test_sign_in_is_not_offered_without_a_client(course: FlaskClient) -> None:
    assert "data-client-id" not in course.get("/docs").text
    assert course.get("/docs/oauth2-redirect").status_code == 404
