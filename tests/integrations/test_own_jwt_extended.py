"""An application that issues its own tokens with flask-jwt-extended keeps working with the kit."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    current_user,
    get_jwt_identity,
    jwt_required,
)

from flask_resource_server import current_subject, require_scope
from tests.conftest import bearer
from tests.forger import Forger
from tests.integrations.answers import check_view
from tests.integrations.conftest import Protect

USERS = {"7": "Ada"}


def make_app() -> tuple[Flask, JWTManager]:
    """Return an application with its own login, as in the documentation of flask-jwt-extended."""
    app = Flask("theirs")
    app.config["JWT_SECRET_KEY"] = "theirs, and long enough for HS256"
    manager = JWTManager()
    manager.user_lookup_loader(lambda _header, claims: USERS.get(claims["sub"]))
    manager.unauthorized_loader(lambda reason: ({"theirs": reason}, 401))

    @app.get("/own")
    @jwt_required()
    def show_own() -> dict[str, Any]:
        return {"user": str(current_user), "identity": get_jwt_identity(), "reader": current_subject()}

    @app.get("/issuer")
    @require_scope("courses:read")
    def show() -> dict[str, Any]:
        return {"reader": current_subject()}

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh() -> dict[str, str]:
        return {"access_token": create_access_token(get_jwt_identity())}

    return app, manager


def issue(app: Flask, identity: str = "7", **options: Any) -> str:
    with app.app_context():
        return str(create_access_token(identity, **options))


@pytest.fixture
def theirs(protect: Protect) -> FlaskClient:
    app, manager = make_app()
    manager.init_app(app)
    protect(app)
    return app.test_client()


def test_jwt_required_accepts_the_applications_own_tokens(theirs: FlaskClient, forger: Forger) -> None:
    own = theirs.get("/own", headers=bearer(issue(theirs.application)))

    assert own.json == {"user": "Ada", "identity": "7", "reader": None}
    assert theirs.get("/own").json == {"theirs": "Missing Authorization Header"}
    assert "WWW-Authenticate" not in theirs.get("/own").headers
    expired = issue(theirs.application, expires_delta=timedelta(seconds=-1))
    assert theirs.get("/own", headers=bearer(expired)).json == {"msg": "Token has expired"}
    assert theirs.get("/own", headers=bearer(issue(theirs.application, "8"))).status_code == 401
    assert (
        theirs.get("/own", headers=bearer(forger.sign())).status_code == 422
    )  # flask-jwt-extended's status for other tokens


def test_require_scope_accepts_only_the_issuers_tokens(
    theirs: FlaskClient, forger: Forger, attacker: Forger
) -> None:
    check_view(theirs, "/issuer", forger, attacker)
    assert theirs.get("/issuer", headers=bearer(issue(theirs.application))).status_code == 401


def test_refresh_tokens_of_the_application_still_work(theirs: FlaskClient) -> None:
    with theirs.application.app_context():
        token = create_refresh_token("7")

    answer = theirs.post("/refresh", headers=bearer(token)).json

    assert answer
    assert theirs.get("/own", headers=bearer(answer["access_token"])).status_code == 200


REFUSAL = r"JWTManager\(app\) was called after ResourceServer\(app\).*call it before"


def test_jwt_manager_initialised_after_the_kit_is_refused(protect: Protect, forger: Forger) -> None:
    app, manager = make_app()
    app.testing = True
    protect(app)
    manager.init_app(app)

    for path in ("/own", "/issuer"):
        with pytest.raises(RuntimeError, match=REFUSAL):
            app.test_client().get(path, headers=bearer(forger.sign()))


def test_refusal_of_a_late_jwt_manager_is_logged(
    protect: Protect, forger: Forger, caplog: pytest.LogCaptureFixture
) -> None:
    app, manager = make_app()
    protect(app)
    manager.init_app(app)

    assert app.test_client().get("/own", headers=bearer(forger.sign())).status_code == 500
    assert "JWTManager(app) was called after ResourceServer(app)" in caplog.text
