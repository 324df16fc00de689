"""Each openapi.yml is accurate: it documents every route, and every response matches it."""

import uuid
from pathlib import Path

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from auth_app.accounts.roles import ROLES
from flask_resource_server import __version__
from flask_resource_server.scopes import find_scopes
from shared import contract, errors
from shared.contract import path_of
from tests.conftest import bearer
from tests.forger import Forger
from tests.servers import ROOT

# Pages and their files, which are not part of the contract.
UNDOCUMENTED = {
    "/",
    "/docs",
    "/docs/static/{filename}",
    "/docs/swagger-ui/{filename}",
    "/openapi.json",
    "/apidocs/index.html",  # flasgger's own, leads to /docs
    "/authorize",
    "/login",
    "/logout",
    "/signed-out",
    "/account",
    "/account/password",
    "/account/end",
    "/pages/brand.css",
    "/pages/logo",
    "/pages/static/{filename}",
}

# Every route that needs no token: a new route must require one or be listed here.
EVERYWHERE = {
    "GET /",
    "GET /docs",
    "GET /docs/static/{filename}",
    "GET /docs/swagger-ui/{filename}",
    "GET /openapi.json",
    "GET /apidocs/index.html",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /.well-known/oauth-protected-resource",
}
OPEN = {
    "auth_app": EVERYWHERE
    | {
        "POST /token",
        "POST /revoke",
        "POST /introspect",  # which requires client credentials instead
        "GET /.well-known/jwks.json",
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/openid-configuration",
        "GET /.well-known/status-list",
        # Pages: users who are not signed in get the sign-in form.
        "GET /authorize",
        "POST /authorize",
        "GET /login",
        "POST /login",
        "GET /logout",
        "POST /logout",
        "GET /signed-out",
        "GET /account",
        "GET /account/password",
        "POST /account/password",
        "POST /account/end",
        "GET /pages/brand.css",
        "GET /pages/logo",
        "GET /pages/static/{filename}",
        "GET /.well-known/status-list/{list_id}",
    },
    "course_app": EVERYWHERE,
}

PUBLIC = {
    "/token",
    "/revoke",
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
    "/.well-known/status-list",
    "/.well-known/status-list/{list_id}",
    "/healthz",
    "/readyz",
    "/metrics",
}


def operations(service: FlaskClient) -> set[tuple[str, str]]:
    paths = service.application.extensions["contract"].document["paths"]
    return {
        (path, method.upper())
        for path, methods in paths.items()
        for method in methods
        if method != "parameters"
    }


def fill(path: str) -> str:
    """Fill in the variable parts of a path."""
    user_id = "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"
    return path.replace("{course_id}", "1").replace("{list_id}", "1").replace("{user_id}", user_id)


def test_every_route_is_documented_and_every_documented_path_is_a_route(service: FlaskClient) -> None:
    routes = {
        (path_of(rule.rule), method)
        for rule in service.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {route for route in routes if route[0] not in UNDOCUMENTED} == operations(service)


@pytest.mark.parametrize("package", ["auth_app", "course_app"])
def test_document_is_valid_openapi(package: str) -> None:
    validate(yaml.safe_load((ROOT / package / "openapi.yml").read_text()))


def test_document_of_auth_app_lists_the_existing_roles() -> None:
    document = yaml.safe_load((ROOT / "auth_app/openapi.yml").read_text())

    assert document["components"]["schemas"]["Roles"]["items"]["enum"] == list(ROLES)


def test_document_is_served_unchanged(service: FlaskClient) -> None:
    """Except for the version, which is the code's, and for `servers`, which depends on the path prefix."""
    written = yaml.safe_load((Path(service.application.root_path) / "openapi.yml").read_text())
    written["info"]["version"] = __version__
    written["servers"] = [{"url": "/"}]

    assert service.get("/openapi.json").json == written
    assert service.get("/openapi.json").json == written, (
        "flasgger changes nothing from one response to the next"
    )


def test_every_operation_needs_a_token_unless_it_is_public(service: FlaskClient) -> None:
    document = service.application.extensions["contract"].document
    for path, method in operations(service):
        form = {"token": "x"} if path == "/introspect" else None
        response = service.open(fill(path), method=method, data=form)

        assert (response.status_code == 401) == (path not in PUBLIC), path
        assert ("security" in document["paths"][path][method.lower()]) == (path not in PUBLIC), path


# The scopes that these views check themselves.
SCOPES_IN_VIEWS = {
    ("/userinfo", "GET"): ["openid"],
    ("/userinfo", "POST"): ["openid"],
    ("/users", "POST"): ["users:manage"],
}


def test_every_operation_names_the_scopes_that_its_view_requires(service: FlaskClient) -> None:
    document = service.application.extensions["contract"].document
    for rule in service.application.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path = path_of(rule.rule)
            schemes = document["paths"].get(path, {}).get(method.lower(), {}).get("security", [{}])
            view = service.application.view_functions[rule.endpoint]
            required = SCOPES_IN_VIEWS.get((path, method), sorted(find_scopes(view)))

            assert schemes[0].get("bearer", []) == required, (method, path)


def open_routes(client: FlaskClient) -> set[str]:
    """Return the routes that do not respond with 401 to a request without a token."""
    found = set()
    values = {"list_id": 1, "course_id": 1, "user_id": uuid.UUID(int=1), "filename": "docs.js"}
    for rule in client.application.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            address = client.application.url_map.bind("localhost").build(rule.endpoint, values, method)
            if client.open(address, method=method, buffered=True).status_code != 401:
                found.add(f"{method} {path_of(rule.rule)}")
    return found


def test_every_route_that_needs_no_token_is_listed(service: FlaskClient) -> None:
    assert open_routes(service) == OPEN[service.application.name]


def test_head_succeeds_like_get_without_a_body(service: FlaskClient, forger: Forger) -> None:
    service.get("/.well-known/status-list")  # this creates list 1
    for path, method in operations(service):
        if method == "GET" and not path.startswith("/user"):
            response = service.head(fill(path), headers=bearer(forger.sign()))

            assert response.status_code == 200, path
            assert response.data == b""


def test_violation_of_an_enum_gets_a_400_with_a_general_message(tmp_path: Path) -> None:
    (tmp_path / "openapi.yml").write_text(
        "info: {}\n"
        "paths: {/things: {post: {requestBody: {content: {application/json: {schema: "
        "{type: object, properties: {size: {enum: [small, large]}}}}}}}}}"
    )
    app = Flask("things", root_path=str(tmp_path))
    errors.init_app(app)
    contract.init_app(app)
    app.add_url_rule("/things", view_func=contract.read_body, methods=["POST"])

    good, bad = (app.test_client().post("/things", json={"size": size}) for size in ("small", "other"))

    assert (good.status_code, good.json) == (200, {"size": "small"})
    assert (bad.status_code, bad.json) == (
        400,
        {
            "error": "invalid_request",
            "error_description": "The parameter size is not valid. See the API documentation.",
        },
    )


def test_references_to_parameters_are_followed(tmp_path: Path) -> None:
    document = tmp_path / "openapi.yml"
    document.write_text(
        "paths: {/x: {get: {parameters: [{$ref: '#/components/parameters/Limit'}]}}}\n"
        "components:\n"
        "  parameters: {Limit: {name: limit, in: query, schema: {$ref: '#/components/schemas/N'}}}\n"
        "  schemas: {N: {type: integer, maximum: 9}}\n"
    )
    read = contract.Contract(document)

    operation, pointer = read.operation("/x", "GET")
    assert operation["parameters"][0]["name"] == "limit"
    assert read.schema(*pointer, "parameters", "0", "schema").find_fault(10)
