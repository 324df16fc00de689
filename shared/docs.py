"""Serve the docs page: flasgger's document in Swagger UI 5, from files of this host alone."""

from pathlib import Path

import flask_swagger_ui
from flasgger import NO_SANITIZER, Swagger
from flask import Blueprint, Flask, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

blueprint = Blueprint(
    "docs", __name__, template_folder="templates", static_folder="static", static_url_path="/docs/static"
)


@blueprint.get("/")
def show_home() -> AnyResponse:
    """Lead to the docs page."""
    return redirect(url_for("flasgger.apidocs"))


def init_app(app: Flask) -> None:
    """Serve `/docs`, and the contract of `app` at `/openapi.json`."""
    document = app.extensions["contract"].document
    app.register_blueprint(blueprint)  # before flasgger's, so that our page takes the place of its own
    swagger = Swagger(
        app,
        template=document,
        sanitizer=NO_SANITIZER,
        config={
            "openapi": document["openapi"],
            "title": document["info"]["title"],
            "headers": [],
            "specs": [{"endpoint": "openapi", "route": "/openapi.json", "rule_filter": lambda _rule: False}],
            "specs_route": "/docs",
            # flasgger adds a page for OAuth redirects that nothing here uses; the docs page hides it.
            "oauth_redirect": "/docs",
            # flasgger brings Swagger UI 3 of 2020, which loads whatever `?url=` names.
            "static_folder": str(Path(flask_swagger_ui.__file__).parent / "dist"),
            "static_url_path": "/docs/swagger-ui",
        },
    )

    def show_document() -> Response:
        """Return the contract, with the path prefix under which a proxy serves it."""
        servers = [{"url": request.script_root or "/"}]
        return jsonify(swagger.get_apispecs("openapi") | {"servers": servers})

    app.view_functions["flasgger.openapi"] = show_document
