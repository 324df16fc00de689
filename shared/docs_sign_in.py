"""Let users sign in on the docs page: it is a public client and uses the authorization code flow with PKCE.

The sign-in page opens in a new window. It redirects to a page of ours that passes the code to the docs page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, make_response, render_template

from shared.headers import CONTENT_SECURITY_POLICY

SCHEME = "sign-in"  # the name of the security scheme in the OpenAPI document

Document = dict[str, Any]


@dataclass(frozen=True)
class SignIn:
    """The issuer where users sign in, the docs page's client ID there, and descriptions of its scopes."""

    issuer: str
    client_id: str
    scopes: Mapping[str, str]


def init_app(app: Flask, sign_in: SignIn) -> None:
    """Serve the page at the client's redirect URI."""
    blueprint = Blueprint("docs_sign_in", __name__, template_folder="templates")

    @blueprint.get("/docs/oauth2-redirect")
    def show_redirect() -> Response:
        response = make_response(render_template("docs/oauth2_redirect.html", issuer=sign_in.issuer))
        # With any other value, this window would lose its reference to the docs page that opened it.
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        return response

    app.register_blueprint(blueprint)


def allow_sign_in(response: Response, sign_in: SignIn) -> None:
    """Relax the headers of the docs page, so that it can open the sign-in page and request the token."""
    parts = urlsplit(sign_in.issuer)
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
        "connect-src 'self'", f"connect-src 'self' {parts.scheme}://{parts.netloc}"
    )


def add_sign_in(document: Document, sign_in: SignIn) -> Document:
    """Return a copy of an OpenAPI document whose operations with a bearer token also offer sign-in."""
    flow = {
        "authorizationUrl": f"{sign_in.issuer}/authorize",
        "tokenUrl": f"{sign_in.issuer}/token",
        "scopes": dict(sign_in.scopes),
    }
    scheme = {
        "type": "oauth2",
        "description": "Or sign in, and let the docs page fetch the token.",
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
    """Return the operations of a path, each of which that accepts a bearer token accepts a sign-in too."""
    return {
        name: {**value, "security": _add_to_security(value["security"])}
        if isinstance(value, dict) and value.get("security")
        else value
        for name, value in item.items()
    }


def _add_to_security(security: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    return [*security, *({SCHEME: scopes["bearer"]} for scopes in security if "bearer" in scopes)]
