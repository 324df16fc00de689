"""An application's own error pages are shown, and still have the headers that clients need."""

from typing import Any

import flask_restful
import flask_restx
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from flask_jwt_extended import jwt_required
from werkzeug.exceptions import HTTPException, Unauthorized

from flask_resource_server import current_subject, require_scope
from tests.conftest import bearer
from tests.forger import Forger
from tests.integrations.answers import check_refusal, check_unavailable
from tests.integrations.conftest import Protect


def show_page(error: HTTPException) -> tuple[str, int]:
    assert error.code
    return f"<p>Theirs: {error.code}", error.code


def show_any_page(error: Exception) -> tuple[str, int]:
    """Handle every exception, as many applications do to hide the details of a failure."""
    return show_page(error) if isinstance(error, HTTPException) else ("<p>Broken", 500)


HANDLERS: dict[str, list[tuple[Any, Any]]] = {
    "by status": [(401, show_page), (403, show_page), (503, show_page)],
    "HTTPException": [(HTTPException, show_page)],
    "Exception": [(Exception, show_any_page)],
}


@pytest.fixture(params=HANDLERS)
def handlers(request: pytest.FixtureRequest) -> list[tuple[Any, Any]]:
    return HANDLERS[request.param]


@pytest.fixture(params=["application", "blueprint"])
def theirs(request: pytest.FixtureRequest, handlers: list[tuple[Any, Any]], testing: bool) -> FlaskClient:
    """An application that has error pages of its own: for all views, or for those of a blueprint."""
    app = Flask("theirs")
    app.testing = testing
    blueprint = Blueprint("things", __name__)
    owner = app if request.param == "application" else blueprint
    for error, handler in handlers:
        owner.register_error_handler(error, handler)

    @blueprint.get("/both")
    @jwt_required()
    @require_scope("courses:read")
    def show_both() -> dict[str, str | None]:
        return {"reader": current_subject()}

    @blueprint.get("/scope")
    @require_scope("courses:read")
    def show_scope() -> dict[str, str | None]:
        return {"reader": current_subject()}

    app.register_blueprint(blueprint)
    return app.test_client()


PATHS = pytest.mark.parametrize("path", ["/both", "/scope"])


@PATHS
def test_custom_401_page_is_shown_with_a_challenge(
    path: str, theirs: FlaskClient, protect: Protect, attacker: Forger
) -> None:
    protect(theirs.application)

    for headers, challenge in (({}, "Bearer resource"), (bearer(attacker.sign()), "Bearer error=")):
        response = theirs.get(path, headers=headers)
        assert response.text == "<p>Theirs: 401"
        check_refusal(response, 401, challenge)


@PATHS
def test_custom_403_page_is_shown_with_a_challenge(
    path: str, theirs: FlaskClient, protect: Protect, forger: Forger
) -> None:
    protect(theirs.application)

    response = theirs.get(path, headers=bearer(forger.sign(scope="other")))

    assert response.text == "<p>Theirs: 403"
    check_refusal(response, 403, 'Bearer error="insufficient_scope", scope="courses:read"')


@PATHS
def test_custom_503_page_is_shown_with_retry_after(
    path: str, theirs: FlaskClient, protect_without_keys: Protect, forger: Forger
) -> None:
    protect_without_keys(theirs.application)

    check_unavailable(theirs, path, forger)
    issuer = theirs.application.extensions["flask_resource_server"].verifier.issuers[0].url
    assert theirs.get(path, headers=bearer(forger.sign(iss=issuer))).text == "<p>Theirs: 503"


def test_custom_challenge_is_kept_next_to_the_bearer_challenge(protect: Protect) -> None:
    """An application that also accepts HTTP Basic keeps that challenge (RFC 9110 section 11.6.1)."""
    app = Flask("theirs")
    protect(app)
    app.register_error_handler(401, lambda _error: ("", 401, {"WWW-Authenticate": 'Basic realm="theirs"'}))
    app.add_url_rule("/", view_func=require_scope("courses:read")(lambda: "good"))

    challenges = app.test_client().get("/").headers.getlist("WWW-Authenticate")

    assert [challenge.partition(" ")[0] for challenge in challenges] == ["Basic", "Bearer"]


@pytest.mark.parametrize("framework", [flask_restful, flask_restx])
def test_framework_challenge_is_kept_next_to_the_bearer_challenge(framework: Any, protect: Protect) -> None:
    app = Flask("theirs")

    class Thing(framework.Resource):
        @jwt_required()
        def get(self) -> str:
            return "good"

    framework.Api(app, serve_challenge_on_401=True).add_resource(Thing, "/thing")
    protect(app)

    response = app.test_client().get("/thing", headers=bearer("x"))

    assert response.status_code == 401
    challenges = response.headers.getlist("WWW-Authenticate")
    assert [challenge.partition(" ")[0] for challenge in challenges] == ["Basic", "Bearer"]


def test_401_from_the_application_itself_gets_no_bearer_challenge(protect: Protect) -> None:
    app = Flask("theirs")
    protect(app)

    @app.get("/")
    def refuse() -> str:
        raise Unauthorized

    assert "WWW-Authenticate" not in app.test_client().get("/").headers


def test_error_handlers_of_a_restx_api_are_called(testing: bool, protect: Protect, forger: Forger) -> None:
    app = Flask("theirs")
    app.testing = testing
    api = flask_restx.Api(app)

    @api.errorhandler(Exception)
    def show_error(error: Exception) -> tuple[dict[str, str], int]:
        return {"theirs": type(error).__name__}, getattr(error, "code", 500)

    @api.route("/thing")
    class Thing(flask_restx.Resource):
        @jwt_required()
        @require_scope("courses:read")
        def get(self) -> str:
            return "good"

    protect(app)
    client = app.test_client()

    check_refusal(client.get("/thing"), 401, "Bearer resource")
    poor = client.get("/thing", headers=bearer(forger.sign(scope="other")))
    assert "theirs" in (poor.json or {})
    check_refusal(poor, 403, "Bearer error")
