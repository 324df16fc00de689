"""The errors of a resource server: what clients get instead of a view's answer (RFC 6750 section 3.1).

They are Werkzeug's `HTTPException`s, so that every framework on top of Flask answers with the right status.
Each is Werkzeug's own class of its status too: by that Flask finds an application's handler for 401. An
application that has an error page of its own for a status shows that; otherwise the body is JSON. The headers
that RFC 6750 and RFC 9110 ask for are in the answer either way.
"""

import json
import re
from typing import Any

from flask import current_app
from werkzeug import Response, exceptions

_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")  # what RFC 6750 section 3 keeps out of a challenge


class BearerError(exceptions.HTTPException):
    """A request that is refused: a status, an error code, and a sentence for the client's developer."""

    code: int | None = None  # a handler for this class is one for all that have a code
    error = ""
    description = ""
    is_challenge = True  # it carries WWW-Authenticate

    @property
    def challenge(self) -> dict[str, str]:
        """Return the parameters of the Bearer challenge."""
        return {"error": self.error, "error_description": self.description or ""}

    @property
    def extra_headers(self) -> dict[str, str]:
        """Return the headers that the answer must have, whoever writes its body."""
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
        """Return the whole answer."""
        return Response(self.get_body(), self.code, self.get_headers())


class Unauthorized(BearerError, exceptions.Unauthorized):
    """No token came; the challenge has no error code then (RFC 6750 section 3.1)."""

    code = 401
    error = "unauthorized"
    description = "Send an access token in the Authorization header, as a Bearer token."

    @property
    def challenge(self) -> dict[str, str]:
        """Return no parameter."""
        return {}


class InvalidToken(BearerError, exceptions.Unauthorized):
    """A token came that is not accepted; the client is not told why."""

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
        """Return the scopes that would do."""
        return {"error": self.error, "scope": " ".join(self.scopes)}


class Forbidden(BearerError, exceptions.Forbidden):
    """The token is good, but the service's own rules refuse the request."""

    code = 403
    error = "forbidden"
    description = "You are not allowed to do this."
    is_challenge = False


class TemporarilyUnavailable(BearerError, exceptions.ServiceUnavailable):
    """Whether the token is good cannot be determined now: the issuer's keys or status lists are not known."""

    code = 503
    error = "temporarily_unavailable"
    description = "The service cannot verify access tokens at the moment. Try again later."
    is_challenge = False

    @property
    def extra_headers(self) -> dict[str, str]:
        """Return how many seconds to wait."""
        return {"Retry-After": "1"}


def format_challenge(parameters: dict[str, str]) -> str:
    """Return a Bearer challenge that names the current application's metadata (RFC 9728 section 5.1)."""
    if server := current_app and current_app.extensions.get("flask_resource_server"):
        parameters = parameters | {"resource_metadata": server.metadata_url}
    quoted = (f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in parameters.items())
    return f"Bearer {', '.join(quoted)}".strip()
