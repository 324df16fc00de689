"""An existing application keeps its behaviour when the kit is added."""

from typing import Any

import flask
import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from flask_jwt_extended import jwt_required
from werkzeug.exceptions import NotFound

from flask_resource_server import ResourceServer
from tests.conftest import KeyPair, bearer
from tests.forger import COURSES, ISSUER, Forger
from tests.token_rows import REFUSED


@pytest.fixture
def adopted(key_pair: KeyPair) -> FlaskClient:
    """Return an existing application with its own conventions, to which the kit is added."""
    app = Flask("somebody", static_folder=None)
    app.secret_key = "theirs"
    things = flask.Blueprint("things", __name__, url_prefix="/things")

    @things.get("/echo")
    def echo() -> dict[str, Any]:
        return {"b": request.headers.get("Authorization"), "a": request.args.get("a")}

    @app.post("/form")
    def take_form() -> str:
        return f"<p>{len(request.form['text'])}"

    @app.get("/broken")
    def fail() -> str:
        raise ZeroDivisionError

    @app.errorhandler(404)
    def show_404(_error: NotFound) -> tuple[str, int]:
        return "<p>Theirs", 404

    @app.errorhandler(ZeroDivisionError)
    def show_failure(_error: ZeroDivisionError) -> tuple[str, int]:
        return "<p>Broken", 500

    app.register_blueprint(things)
    ResourceServer(app, issuer=ISSUER, resource=COURSES, public_key_file=key_pair.public_file)

    @app.get("/account")
    @jwt_required()
    def show_account() -> dict[str, str]:
        return {"account": "yours"}

    return app.test_client()


@pytest.mark.parametrize("name", ["kid unknown", "exp past", "two parts", "no dot"])
def test_adopted_application_refuses_bad_tokens(
    name: str, adopted: FlaskClient, forger: Forger, attacker: Forger
) -> None:
    refused = adopted.get("/account", headers=bearer(REFUSED[name](forger, attacker)))

    assert (refused.status_code, refused.json and refused.json["error"]) == (401, "invalid_token")
    assert adopted.get("/account").status_code == 401
    assert adopted.get("/account", headers=bearer(forger.sign())).json == {"account": "yours"}


def test_adopted_application_keeps_its_own_responses(adopted: FlaskClient) -> None:
    nothing = adopted.get("/nothing")
    assert (nothing.status_code, nothing.text) == (404, "<p>Theirs")
    assert (adopted.get("/broken").status_code, adopted.get("/broken").text) == (500, "<p>Broken")
    assert adopted.delete("/form").mimetype == "text/html", "Werkzeug's own page"
    assert adopted.post("/form", data={"text": "x" * 200_000}).text == "<p>200000"
    for header in ("Basic dTpw", "Digest a=b, c=d", "Bearer x", ", ,"):
        echoed = adopted.get("/things/echo?a=1", headers={"Authorization": header})
        assert echoed.text == '{"a":"1","b":' + f'"{header}"' + "}\n"
        assert "Content-Security-Policy" not in echoed.headers
        assert "X-Request-ID" not in echoed.headers


def test_kit_adds_one_route(adopted: FlaskClient) -> None:
    rules = {rule.rule for rule in adopted.application.url_map.iter_rules()}

    assert rules - {"/things/echo", "/form", "/broken", "/account"} == {
        "/.well-known/oauth-protected-resource"
    }
