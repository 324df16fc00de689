"""The errors that clients get from a resource server: status, code and sentence (RFC 6750 section 3.1).

They are Werkzeug's `HTTPException`s, so that every framework on top of Flask responds with the right status.
Each one is also a subclass of Werkzeug's class for its status, by which Flask finds the application's handler
for 401, say. The body is JSON unless the application has an error page of its own for the status. The headers
that RFC 6750 and RFC 9110 require are in the response either way.
"""

import json
import re
from typing import Any

from flask import current_app
from werkzeug import Response, exceptions

_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")  # characters that RFC 6750 section 3 forbids in a challenge


class BearerError(exceptions.HTTPException):
    """A refused request: a status, an error code, and a sentence for the client's developer."""

    code: int | None = None  # None here, so that Flask uses a handler for this class for all its subclasses
    error = ""
    description = ""
    is_challenge = True  # the response has a WWW-Authenticate header

    @property
    def challenge(self) -> dict[str, str]:
        """Return the parameters of the Bearer challenge."""
        return {"error": self.error, "error_description": self.description or ""}

    @property
    def extra_headers(self) -> dict[str, str]:
        """Return the headers that the response must have, also if the application writes the body."""
        if not self.is_challenge:
            return {}
        return {"WWW-Authenticate": format_challenge(self.challenge)}

    def get_headers(self, *_args: Any) -> list[tuple[str, str]]:
        """Return all headers."""
        return [("Content-Type", "application/json"), *self.extra_headers.items()]

    def get_body(self, *_args: Any) -> str:
        """Return the error as JSON."""
        return json.dumps({"error": self.error, "error_description": self.description})

    def get_response(self, *_args: Any, **_options: Any) -> Response:
        """Return the complete response."""
        return Response(self.get_body(), self.code, self.get_headers())


class Unauthorized(BearerError, exceptions.Unauthorized):
    """The request has no token. The challenge has no error code then (RFC 6750 section 3.1)."""

    code = 401
    error = "unauthorized"
    description = "Send an access token in the Authorization header, as a Bearer token."

    @property
    def challenge(self) -> dict[str, str]:
        """Return no parameters."""
        return {}


class InvalidToken(BearerError, exceptions.Unauthorized):
    """The token was refused. The response does not say why, which could help an attacker."""

    code = 401
    error = "invalid_token"
    description = "The access token is malformed, expired, revoked or not meant for this service."


class InsufficientScope(BearerError, exceptions.Forbidden):
    """The token is good, but lacks a scope that the request needs."""

    code = 403
    error = "insufficient_scope"
    description = "The access token lacks the scope that this request needs."

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self.scopes = scopes

    @property
    def challenge(self) -> dict[str, str]:
        """Return the scopes that the client should request."""
        return {"error": self.error, "scope": " ".join(self.scopes)}


class Forbidden(BearerError, exceptions.Forbidden):
    """The token is good, but the service's own rules refuse the request."""

    code = 403
    error = "forbidden"
    description = "You are not allowed to do this."
    is_challenge = False


class TemporarilyUnavailable(BearerError, exceptions.ServiceUnavailable):
    """It cannot be determined now whether the token is good: the issuer's keys or lists are not known."""

    code = 503
    error = "temporarily_unavailable"
    description = "The service cannot verify access tokens at the moment. Try again later."
    is_challenge = False

    @property
    def extra_headers(self) -> dict[str, str]:
        """Return the seconds to wait before a retry."""
        return {"Retry-After": "1"}


def format_challenge(parameters: dict[str, str]) -> str:
    """Return a Bearer challenge with the URL of the service's metadata (RFC 9728 section 5.1)."""
    if server := current_app and current_app.extensions.get("flask_resource_server"):
        parameters = parameters | {"resource_metadata": server.metadata_url}
    quoted = (f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in parameters.items())
    return f"Bearer {', '.join(quoted)}".strip()
