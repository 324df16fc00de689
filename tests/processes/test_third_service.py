"""Further services: a new one in the lines of the README, and an application that was there before."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from flask_jwt_extended import jwt_required
from werkzeug.exceptions import NotFound

from flask_resource_server import ResourceServer
from tests.conftest import KeyPair, bearer, get_token, open_auth
from tests.forger import COURSES, ISSUER, Forger
from tests.servers import ROOT, Server, call, listen, serve
from tests.token_rows import ACCEPTED, REFUSED, Make

(NEW,) = re.findall(
    r"```python\n(from flask import Flask\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair) -> Iterator[Server]:
    """The third service of the README under gunicorn, by the name that the tokens of these tests are for."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "reports.py").write_text(NEW)
    environment = {
        "FLASK_OAUTH_ISSUER": ISSUER,
        "FLASK_OAUTH_RESOURCE": COURSES,
        "FLASK_OAUTH_PUBLIC_KEY_FILE": str(key_pair.public_file),
        "FLASK_OAUTH_STATUS_CLAIM": "ignored",  # no issuer is there to ask
    }
    with listen() as listener, serve("reports", listener, environment, folder) as server:
        yield server


def test_third_service_has_ten_lines_at_most() -> None:
    assert 1 <= len([line for line in NEW.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_is_accepted(make: Make, reports: Server, forger: Forger, attacker: Forger) -> None:
    answer = call(f"{reports.url}/reports", make(forger, attacker))

    assert answer == (200, {"reports": [], "reader": forger.subject})


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_refused(make: Make, reports: Server, forger: Forger, attacker: Forger) -> None:
    status, answer = call(f"{reports.url}/reports", make(forger, attacker) or "malformed")

    assert (status, answer["error"]) == (401, "invalid_token")


def test_token_without_the_scope_is_forbidden(reports: Server, forger: Forger) -> None:
    status, answer = call(f"{reports.url}/reports", forger.sign(scope="courses:write"))

    assert (status, answer["error"]) == (403, "insufficient_scope")


def test_it_says_who_issues_its_tokens(reports: Server) -> None:
    assert call(f"{reports.url}/.well-known/oauth-protected-resource") == (
        200,
        {
            "resource": COURSES,
            "authorization_servers": [ISSUER],
            "scopes_supported": ["courses:read"],
            "bearer_methods_supported": ["header"],
        },
    )


def test_issuer_makes_tokens_for_it_once_it_is_named(
    key_pair: KeyPair, reports: Server, tmp_path: Path
) -> None:
    resources = ("http://127.0.0.1:9999", COURSES)
    with open_auth(f"sqlite:///{tmp_path}/auth.db", key_pair, resources=resources) as auth:
        assert call(f"{reports.url}/reports", get_token(auth))[0] == 200
        assert call(f"{reports.url}/reports", get_token(auth, resource=resources[0]))[0] == 401


@pytest.fixture
def adopted(key_pair: KeyPair) -> FlaskClient:
    """Somebody's application, made by other rules than ours, to which the kit is added."""
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


def test_adopted_application_keeps_what_it_had(adopted: FlaskClient) -> None:
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
