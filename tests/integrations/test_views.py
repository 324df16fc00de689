"""Both decorators work on every kind of view and guard that Flask has."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.testing import FlaskClient
from flask.views import MethodView
from flask_jwt_extended import jwt_required, verify_jwt_in_request

from flask_resource_server import (
    Forbidden,
    ResourceServer,
    current_scopes,
    current_subject,
    current_token,
    require_scope,
    token_refused,
)
from tests.conftest import KeyPair, bearer
from tests.forger import COURSES, ISSUER, Forger
from tests.integrations.answers import METADATA, check_refusal, check_view, published_scopes
from tests.integrations.conftest import Protect

Reader = dict[str, str | None]
Decorate = Callable[[Any], Any]

DECORATORS: dict[str, Decorate] = {
    "scope": require_scope("courses:read"),
    "both": lambda view: jwt_required()(require_scope("courses:read")(view)),
}
decorators = pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)


@decorators
def test_async_views_are_protected(
    decorate: Decorate, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    app = Flask("theirs")
    protect(app)

    @app.get("/")
    @decorate
    async def show() -> Reader:
        return {"reader": current_subject()}

    check_view(app.test_client(), "/", forger, attacker)


@decorators
def test_async_methods_are_protected(
    decorate: Decorate, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    app = Flask("theirs")
    protect(app)

    class Things(MethodView):
        @decorate
        async def get(self) -> Reader:
            return {"reader": current_subject()}

    app.add_url_rule("/", view_func=Things.as_view("things"))

    check_view(app.test_client(), "/", forger, attacker)
    assert published_scopes(app.test_client()) == ["courses:read"]


def test_async_claims_check_is_awaited(protect: Protect, forger: Forger) -> None:
    """Otherwise it would let every token through."""
    app = Flask("theirs")

    async def refuse_all(_claims: object) -> None:
        raise Forbidden

    protect(app, check_claims=refuse_all)
    app.add_url_rule("/", view_func=require_scope()(lambda: "good"))

    assert app.test_client().get("/", headers=bearer(forger.sign())).status_code == 403


@decorators
def test_views_in_nested_blueprints_of_an_application_factory_are_protected(
    decorate: Decorate, key_pair: KeyPair, forger: Forger, attacker: Forger
) -> None:
    resource_server = ResourceServer(
        issuer=ISSUER, resource=COURSES, public_key_file=key_pair.public_file, status_claim="ignored"
    )
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)

    @inner.get("/things")
    @decorate
    def show() -> Reader:
        return {"reader": current_subject()}

    def create_app() -> Flask:
        app = Flask("theirs")
        outer.register_blueprint(inner, url_prefix="/inner")
        app.register_blueprint(outer, url_prefix="/outer")
        resource_server.init_app(app)
        return app

    client = create_app().test_client()

    check_view(client, "/outer/inner/things", forger, attacker)
    assert published_scopes(client) == ["courses:read"]


@decorators
def test_options_requests_reach_the_view_without_a_token(decorate: Decorate, protect: Protect) -> None:
    app = Flask("theirs")
    protect(app)

    @app.route("/", methods=["GET", "OPTIONS"])
    @decorate
    def show() -> dict[str, Any]:
        return {"method": request.method, "reader": current_subject(), "scopes": list(current_scopes())}

    assert app.test_client().options("/").json == {"method": "OPTIONS", "reader": None, "scopes": []}
    assert app.test_client().get("/").status_code == 401


@pytest.fixture
def optional(protect: Protect) -> FlaskClient:
    """A view for everyone, and one that requires a scope, both with `optional=True`."""
    app = Flask("theirs")
    protect(app)

    @app.get("/")
    @jwt_required(optional=True)
    def show() -> dict[str, Any]:
        return {"reader": current_subject(), "token": current_token() is not None}

    @app.get("/scope")
    @jwt_required(optional=True)
    @require_scope("courses:read")
    def show_scope() -> Reader:
        return {"reader": current_subject()}

    return app.test_client()


def test_optional_token_may_be_missing(optional: FlaskClient, forger: Forger, attacker: Forger) -> None:
    reasons: list[str] = []
    with token_refused.connected_to(lambda _app, reason: reasons.append(reason), sender=optional.application):
        assert optional.get("/").json == {"reader": None, "token": False}
        assert optional.get("/", headers={"Authorization": "Basic dTpw"}).status_code == 200
    assert reasons == []
    good = optional.get("/", headers=bearer(forger.sign()))
    assert good.json == {"reader": forger.subject, "token": True}
    check_refusal(optional.get("/", headers=bearer(attacker.sign())), 401, 'Bearer error="invalid_token"')


def test_required_scope_makes_an_optional_token_mandatory(
    optional: FlaskClient, forger: Forger, attacker: Forger
) -> None:
    check_view(optional, "/scope", forger, attacker)


@pytest.mark.parametrize("path", ["/jwt", "/scope", "/optional"])
def test_missing_token_is_signalled_once(path: str, protect: Protect) -> None:
    app = Flask("theirs")
    protect(app)
    app.add_url_rule("/jwt", "jwt", jwt_required()(lambda: "good"))
    app.add_url_rule("/scope", "scope", require_scope()(lambda: "good"))
    app.add_url_rule("/optional", "optional", jwt_required(optional=True)(require_scope()(lambda: "good")))
    reasons: list[str] = []

    with token_refused.connected_to(lambda _app, reason: reasons.append(reason), sender=app):
        assert app.test_client().get(path).status_code == 401

    assert reasons == ["missing"]


REFUSED_BY_FLASK_JWT_EXTENDED: dict[str, dict[str, Any]] = {
    "refresh token": {"refresh": True},
    "fresh token": {"fresh": True},
    "token in the query": {"locations": ["query_string"]},
}


@pytest.mark.parametrize("options", REFUSED_BY_FLASK_JWT_EXTENDED.values(), ids=REFUSED_BY_FLASK_JWT_EXTENDED)
def test_token_that_does_not_meet_the_options_of_a_view_is_refused(
    options: dict[str, Any], protect: Protect, forger: Forger
) -> None:
    app = Flask("theirs")
    protect(app)
    app.add_url_rule("/", view_func=jwt_required(**options)(lambda: "good"))

    check_refusal(app.test_client().get("/", headers=bearer(forger.sign())), 401, "Bearer ")


@pytest.mark.parametrize("skip", [{"verify_type": False}, {"skip_revocation_check": True}])
def test_skipping_checks_does_not_make_the_token_optional(skip: dict[str, Any], protect: Protect) -> None:
    app = Flask("theirs")
    protect(app)
    app.add_url_rule("/", view_func=jwt_required(**skip)(lambda: "good"))

    check_refusal(app.test_client().get("/"), 401, "Bearer resource")
    check_refusal(app.test_client().get("/", headers=bearer("e30..")), 401, 'Bearer error="invalid_token"')


def guard_by_token() -> None:
    if request.path != METADATA:
        verify_jwt_in_request()
        require_scope("courses:read")(lambda: None)()


@require_scope("courses:read")
def guard_by_scope() -> None:
    pass


@require_scope("courses:read")
async def guard_in_async() -> None:
    pass


GUARDS = pytest.mark.parametrize("guard", [guard_by_token, guard_by_scope, guard_in_async])
WHEN = pytest.mark.parametrize("registered", ["before", "after"])


@GUARDS
@WHEN
def test_application_guard_protects_all_views(
    registered: str, guard: Any, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    """A guard may be registered before the kit, which has to read the token before any guard runs."""
    app = Flask("theirs")
    if registered == "before":
        app.before_request(guard)
    protect(app)
    if registered == "after":
        app.before_request(guard)
    app.add_url_rule("/", view_func=lambda: {"reader": current_subject()})

    check_view(app.test_client(), "/", forger, attacker)
    assert app.test_client().options("/").status_code == 200


@GUARDS
@WHEN
def test_blueprint_guard_protects_its_views(
    registered: str, guard: Any, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    app = Flask("theirs")
    blueprint = Blueprint("things", __name__)
    blueprint.before_request(guard)
    blueprint.add_url_rule("/", view_func=lambda: {"reader": current_subject()})
    if registered == "before":
        app.register_blueprint(blueprint)
    protect(app)
    if registered == "after":
        app.register_blueprint(blueprint)

    check_view(app.test_client(), "/", forger, attacker)
    assert app.test_client().get(METADATA).status_code == 200


def test_scope_required_by_a_guard_is_published(protect: Protect) -> None:
    app = Flask("theirs")
    blueprint = Blueprint("things", __name__)
    blueprint.before_request(guard_by_scope)
    app.register_blueprint(blueprint)
    protect(app)

    assert published_scopes(app.test_client()) == ["courses:read"]
