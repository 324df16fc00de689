"""Let people sign in from the docs page, by the authorization code flow with PKCE, as a public client.

The sign-in opens in a window of its own and comes back to a page of ours, which hands the code over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, make_response, render_template

from shared.headers import CONTENT_SECURITY_POLICY

SCHEME = "sign-in"  # its name in the document

Document = dict[str, Any]


@dataclass(frozen=True)
class SignIn:
    """Where people sign in, which client the docs page is there, and what each scope lets it do."""

    issuer: str
    client_id: str
    scopes: Mapping[str, str]


def init_app(app: Flask, sign_in: SignIn) -> None:
    """Serve the page to which a sign-in comes back: the client's redirect URI."""
    blueprint = Blueprint("docs_sign_in", __name__, template_folder="templates")

    @blueprint.get("/docs/oauth2-redirect")
    def show_redirect() -> Response:
        response = make_response(render_template("docs/oauth2_redirect.html", issuer=sign_in.issuer))
        # Any other value would part this window from the docs page that has opened it.
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        return response

    app.register_blueprint(blueprint)


def allow_sign_in(response: Response, sign_in: SignIn) -> None:
    """Let the docs page open a window for the sign-in, and ask the issuer for the token."""
    parts = urlsplit(sign_in.issuer)
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
        "connect-src 'self'", f"connect-src 'self' {parts.scheme}://{parts.netloc}"
    )


def add_sign_in(document: Document, sign_in: SignIn) -> Document:
    """Return a document in which whatever takes a bearer token can be used after a sign-in, too."""
    flow = {
        "authorizationUrl": f"{sign_in.issuer}/authorize",
        "tokenUrl": f"{sign_in.issuer}/token",
        "scopes": dict(sign_in.scopes),
    }
    scheme = {
        "type": "oauth2",
        "description": "Or sign in, and have the docs page fetch the token.",
        "flows": {"authorizationCode": flow},
    }
    components = document["components"]
    schemes = {**components["securitySchemes"], SCHEME: scheme}
    return {
        **document,
        "components": {**components, "securitySchemes": schemes},
        "paths": {path: _add_to_path(item) for path, item in document["paths"].items()},
    }


def _add_to_path(item: Document) -> Document:
    return {
        name: {**value, "security": [*value["security"], {SCHEME: value["security"][0]["bearer"]}]}
        if isinstance(value, dict) and value.get("security")
        else value
        for name, value in item.items()
    }
