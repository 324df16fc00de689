"""An accepted token is valid only for its own request, not for others made from the same environ."""

from collections.abc import Iterator

import pytest
from flask import Flask, request
from werkzeug.test import run_wsgi_app

from flask_resource_server import ResourceServer, current_subject, require_scope
from flask_resource_server.authentication import authenticate
from flask_resource_server.testing import TokenIssuer

Environ = dict[str, object]


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    ResourceServer(app, issuer="https://issuer.test", resource="https://service.test")
    return app


@pytest.fixture
def tokens(app: Flask) -> Iterator[TokenIssuer]:
    with TokenIssuer().trusted_by(app) as tokens:
        yield tokens


def bearer(tokens: TokenIssuer, subject: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.issue(subject=subject)}"}


def test_request_rebuilt_from_an_environ_is_verified_again(app: Flask, tokens: TokenIssuer) -> None:
    """Flask-SocketIO rebuilds the request for each event of a connection."""
    kept: list[Environ] = []

    @app.get("/")
    @require_scope()
    def connect() -> str:
        kept.append(request.environ)
        return str(current_subject())

    headers = bearer(tokens, "ann")
    assert app.test_client().get("/", headers=headers).text == "ann"

    with app.request_context(kept[0]):
        assert current_subject() is None, "nothing was verified for this request"
        assert authenticate().subject == "ann"


def test_inner_request_from_a_copied_environ_uses_its_own_token(app: Flask, tokens: TokenIssuer) -> None:

    @app.get("/inner")
    @require_scope()
    def inner() -> str:
        return str(current_subject())

    @app.get("/outer")
    @require_scope()
    def outer() -> str:
        environ = {**request.environ, "PATH_INFO": "/inner", "HTTP_AUTHORIZATION": other["Authorization"]}
        inner, status, _ = run_wsgi_app(app.wsgi_app, environ)
        body = b"".join(inner).decode() if status.startswith("200") else ""
        return f"{status[:3]} {body} {current_subject()}"

    client, headers = app.test_client(), bearer(tokens, "ann")
    other = bearer(tokens, "bob")
    assert client.get("/outer", headers=headers).text == "200 bob ann"
    other = {"Authorization": "Bearer a.b.c"}
    assert client.get("/outer", headers=headers).text == "401  ann"
