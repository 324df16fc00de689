"""An application that signs users in with idpyoidc. `/` returns what it knows about its user."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from idpyoidc.client.rp_handler import RPHandler

ISSUER, HERE = os.environ["ISSUER"], os.environ["URL"]
SERVICES = "idpyoidc.client.oidc"

CONFIG = {
    "issuer": ISSUER,
    "client_id": os.environ["CLIENT_ID"],
    "client_secret": os.environ["CLIENT_SECRET"],
    "client_type": "oidc",
    "redirect_uris": [f"{HERE}/callback"],
    "post_logout_redirect_uris": [f"{HERE}/"],
    "response_types_supported": ["code"],
    "scopes_supported": ["openid", "profile", "roles", "courses:read"],
    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    "services": {
        "discovery": {"class": f"{SERVICES}.provider_info_discovery.ProviderInfoDiscovery"},
        "authorization": {"class": f"{SERVICES}.authorization.Authorization"},
        "accesstoken": {"class": f"{SERVICES}.access_token.AccessToken"},
        "userinfo": {"class": f"{SERVICES}.userinfo.UserInfo"},
        "end_session": {"class": f"{SERVICES}.end_session.EndSession"},
    },
    "add_ons": {
        "pkce": {
            "function": "idpyoidc.client.oauth2.add_on.pkce.add_support",
            "kwargs": {"code_challenge_length": 64, "code_challenge_method": "S256"},
        }
    },
}
KEYS = {"key_defs": [{"type": "RSA", "use": ["sig"]}], "uri_path": "jwks.json"}

handler = RPHandler(HERE, client_configs={ISSUER: CONFIG}, key_conf=KEYS)
user: dict[str, Any] = {}


class Application(BaseHTTPRequestHandler):
    """Serves the three URLs of every application in these tests, and a callback."""

    def do_GET(self) -> None:
        """Respond with a redirect or with JSON."""
        parts = urlsplit(self.path)
        match parts.path:
            case "/sign-in":
                begun = handler.begin(ISSUER, req_args={"scope": CONFIG["scopes_supported"]})
                self._answer(303, {}, begun if isinstance(begun, str) else begun["url"])
            case "/callback":
                self._finish(dict(parse_qsl(parts.query)))
            case "/sign-out":
                to = handler.logout(user["state"])["url"]
                user.clear()
                self._answer(303, {}, to)
            case "/":
                self._answer(200 if user else 401, user)
            case _:
                self._answer(404, {})

    def _finish(self, response: dict[str, str]) -> None:
        result = handler.finalize(ISSUER, response)
        if "error" in result:
            self._answer(500, result)
            return
        known = result["userinfo"].to_dict()
        user.update(known, state=result["state"], access_token=result["token"])
        self._answer(303, {}, f"{HERE}/")

    def _answer(self, status: int, body: object, location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Do nothing: the request line may contain a code."""


HTTPServer(("127.0.0.1", urlsplit(HERE).port or 0), Application).serve_forever()
