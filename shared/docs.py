"""Serve the docs page, Swagger UI 5 without files from other hosts, and the contract at /openapi.json."""

from pathlib import Path

import flask_swagger_ui
from flasgger import NO_SANITIZER, Swagger
from flask import (
    Blueprint,
    Flask,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from shared import docs_sign_in
from shared.docs_sign_in import SignIn, add_sign_in, allow_sign_in

blueprint = Blueprint(
    "docs", __name__, template_folder="templates", static_folder="static", static_url_path="/docs/static"
)


@blueprint.get("/")
def show_home() -> AnyResponse:
    """Redirect to the docs page."""
    return redirect(url_for("flasgger.apidocs"), 303)


def init_app(app: Flask, sign_in: SignIn | None = None) -> None:
    """Serve `/docs` and `/openapi.json`; with `sign_in`, users can sign in on the docs page."""
    document = app.extensions["contract"].document
    if sign_in:
        document = add_sign_in(document, sign_in)
        docs_sign_in.init_app(app, sign_in)
    app.register_blueprint(blueprint)
    swagger = Swagger(
        app,
        template=document,
        sanitizer=NO_SANITIZER,
        config={
            "openapi": document["openapi"],
            "headers": [],
            "specs": [{"endpoint": "openapi", "route": "/openapi.json", "rule_filter": lambda _rule: False}],
            "specs_route": "/docs",
            # flasgger adds a page for OAuth redirects that nothing uses; the docs page's route hides it.
            "oauth_redirect": "/docs",
            # flasgger bundles Swagger UI 3 of 2020, which loads any document that `?url=` names.
            "static_folder": str(Path(flask_swagger_ui.__file__).parent / "dist"),
            "static_url_path": "/docs/swagger-ui",
        },
    )

    def show_page() -> Response:
        """Render the docs page."""
        html = render_template("docs/index.html", title=document["info"]["title"], sign_in=sign_in)
        response = make_response(html)
        if sign_in:
            allow_sign_in(response, sign_in)
        return response

    def show_document() -> Response:
        """Return the contract, with the path prefix of a proxy as its server URL."""
        servers = [{"url": request.script_root or "/"}]
        return jsonify(swagger.get_apispecs("openapi") | {"servers": servers})

    app.view_functions["flasgger.apidocs"] = show_page
    app.view_functions["flasgger.<lambda>"] = show_home  # flasgger's redirect from its old address is a 302
    app.view_functions["flasgger.openapi"] = show_document
