"""Flask's REST frameworks respond with 401, 403 and 503 in their own formats, and never with 500."""

from collections.abc import Callable
from typing import Any, ClassVar

import apiflask
import flask_restful
import flask_restx
import flask_smorest
import pytest
from apiflask import APIFlask
from flask import Flask
from flask.testing import FlaskClient
from flask.views import MethodView
from flask_jwt_extended import jwt_required

from flask_resource_server import current_subject, require_scope
from tests.conftest import bearer
from tests.forger import Forger
from tests.integrations.answers import check_refusal, check_unavailable, check_view, published_scopes
from tests.integrations.conftest import Protect

Reader = dict[str, str | None]


class Decorated:
    """The methods of a view: one with both decorators, and one with `require_scope` alone."""

    @jwt_required()
    @require_scope("courses:read")
    def get(self) -> Reader:
        return {"reader": current_subject()}

    @require_scope("courses:write")
    def delete(self) -> Reader:
        return {"reader": current_subject()}


class Bare:
    """The method of a view whose class has the decorators."""

    def get(self) -> Reader:
        return {"reader": current_subject()}


DECORATORS = [require_scope("courses:read", "of-class", mode="any"), jwt_required()]  # the last is outermost


def make_flask() -> Flask:
    app = Flask("theirs")

    class Whole(Bare, MethodView):
        decorators = DECORATORS

    class Methods(Decorated, MethodView):
        pass

    app.add_url_rule("/class", view_func=Whole.as_view("whole"))
    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))
    return app


def make_smorest() -> Flask:
    app = Flask("theirs")
    app.config.update(API_TITLE="Theirs", API_VERSION="1", OPENAPI_VERSION="3.0.3", OPENAPI_URL_PREFIX="/")
    api = flask_smorest.Api(app)
    blueprint = flask_smorest.Blueprint("things", __name__)

    @blueprint.route("/class")
    class Whole(Bare, MethodView):
        decorators = DECORATORS

    @blueprint.route("/methods")
    class Methods(Decorated, MethodView):
        pass

    @blueprint.route("/function")
    @blueprint.response(200)
    @jwt_required()
    @require_scope("courses:read")
    def show() -> Reader:
        return {"reader": current_subject()}

    api.register_blueprint(blueprint)
    return app


def make_apiflask() -> Flask:
    app = APIFlask("theirs")

    class Whole(Bare, MethodView):  # APIFlask looks for methods in the class itself
        decorators = DECORATORS
        get = Bare.get

    class Methods(Decorated, MethodView):
        get = Decorated.get
        delete = Decorated.delete

    app.add_url_rule("/class", view_func=Whole.as_view("whole"))
    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))

    @app.get("/function")
    @app.input({"page": apiflask.fields.Integer(load_default=1)}, location="query")
    @jwt_required()
    @require_scope("courses:read")
    def show(query_data: dict[str, int]) -> Reader:
        assert query_data == {"page": 1}
        return {"reader": current_subject()}

    return app


def make_restful() -> Flask:
    app = Flask("theirs")
    api = flask_restful.Api(app)

    class Whole(Bare, flask_restful.Resource):
        method_decorators = DECORATORS

    class ByMethod(Bare, flask_restful.Resource):
        method_decorators: ClassVar = {
            "get": [require_scope("courses:read", "of-dict", mode="any"), jwt_required()]
        }

    class Methods(Decorated, flask_restful.Resource):
        pass

    api.add_resource(Whole, "/class")
    api.add_resource(ByMethod, "/function")
    api.add_resource(Methods, "/methods")
    return app


def make_restx() -> Flask:
    app = Flask("theirs")
    api = flask_restx.Api(app, doc="/docs")

    @api.route("/class")
    class Whole(Bare, flask_restx.Resource):
        method_decorators = DECORATORS

    @api.route("/methods")
    class Methods(Decorated, flask_restx.Resource):
        pass

    return app


FRAMEWORKS: dict[str, tuple[Callable[[], Flask], list[str]]] = {
    "MethodView": (make_flask, ["/class", "/methods"]),
    "flask-smorest": (make_smorest, ["/class", "/methods", "/function"]),
    "APIFlask": (make_apiflask, ["/class", "/methods", "/function"]),
    "Flask-RESTful": (make_restful, ["/class", "/methods", "/function"]),
    "Flask-RESTX": (make_restx, ["/class", "/methods"]),
}
VIEWS = [
    pytest.param(make, path, id=f"{name} {path}")
    for name, (make, paths) in FRAMEWORKS.items()
    for path in paths
]


def open_client(make: Callable[[], Flask], testing: bool) -> FlaskClient:
    app = make()
    app.testing = testing
    return app.test_client()


@pytest.mark.parametrize(("make", "path"), VIEWS)
def test_views_respond_according_to_the_token(
    make: Callable[[], Flask], path: str, testing: bool, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    client = open_client(make, testing)
    protect(client.application)

    check_view(client, path, forger, attacker)


@pytest.mark.parametrize(("make", "path"), VIEWS)
def test_views_respond_503_while_no_token_can_be_verified(
    make: Callable[[], Flask], path: str, testing: bool, protect_without_keys: Protect, forger: Forger
) -> None:
    client = open_client(make, testing)
    protect_without_keys(client.application)

    check_unavailable(client, path, forger)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_scopes_of_each_method_are_published(name: str, protect: Protect) -> None:
    client = open_client(FRAMEWORKS[name][0], testing=True)
    protect(client.application)

    of_dict = ["of-dict"] if name == "Flask-RESTful" else []
    assert published_scopes(client) == ["courses:read", "courses:write", "of-class", *of_dict]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("flask-smorest", "/openapi.json"),
        ("APIFlask", "/openapi.json"),
        ("Flask-RESTX", "/swagger.json"),
    ],
)
def test_openapi_document_of_a_framework_is_unchanged(name: str, path: str, protect: Protect) -> None:
    """What the kit adds to the application is not part of its API."""
    client, untouched = (open_client(FRAMEWORKS[name][0], testing=True) for _ in range(2))
    protect(client.application)

    contract = client.get(path).json

    assert contract
    assert contract == untouched.get(path).json


@pytest.mark.parametrize("framework", [flask_restful, flask_restx])
@pytest.mark.parametrize("options", [{"refresh": True}, {"fresh": True}, {"locations": ["query_string"]}])
def test_token_refused_by_flask_jwt_extended_gets_401(
    framework: Any, options: dict[str, Any], testing: bool, protect: Protect, forger: Forger
) -> None:
    app = Flask("theirs")
    app.testing = testing

    class Thing(Bare, framework.Resource):
        method_decorators: ClassVar = [jwt_required(**options)]

    framework.Api(app).add_resource(Thing, "/thing")
    protect(app)

    check_refusal(app.test_client().get("/thing", headers=bearer(forger.sign())), 401, "Bearer ")
