"""Turn every error into the one JSON form, in fixed sentences that quote nothing."""

from flask import Flask, Response, current_app, jsonify
from werkzeug.exceptions import HTTPException


class ApiError(Exception):
    """A refusal: an HTTP status, an error code of an RFC, and a sentence for the client's developer."""

    status = 400
    error = "invalid_request"
    description = "The request is malformed."

    def __init__(self, description: str | None = None) -> None:
        self.description = description or self.description
        super().__init__(self.description)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that this refusal carries."""
        return {}

    @property
    def challenge(self) -> dict[str, str] | None:
        """Return the parameters of the Bearer challenge, None where it has none."""
        return None


class InvalidRequest(ApiError):
    """A parameter is missing, repeated or malformed (RFC 6749 section 5.2)."""


class Unauthorized(ApiError):
    """No token came, and the challenge tells no more than that (RFC 6750 section 3.1)."""

    status = 401
    error = "unauthorized"
    description = "Send an access token in the header Authorization: Bearer."

    @property
    def challenge(self) -> dict[str, str]:
        """Return no parameter."""
        return {}


class InvalidToken(ApiError):
    """A token came that is not accepted; why is not told (RFC 6750 section 3.1)."""

    status = 401
    error = "invalid_token"
    description = "The access token is malformed, expired, revoked or not meant for this service."

    @property
    def challenge(self) -> dict[str, str]:
        """Return the error code."""
        return {"error": self.error, "error_description": self.description}


class InsufficientScope(ApiError):
    """A good token lacks the scope that the request needs (RFC 6750 section 3.1)."""

    status = 403
    error = "insufficient_scope"
    description = "The access token lacks the scope that this request needs."

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    @property
    def challenge(self) -> dict[str, str]:
        """Return the scope that would do."""
        return {"error": self.error, "scope": self.scope}


class Unavailable(ApiError):
    """What the request needs is not there for a moment (RFC 9110 section 15.6.4)."""

    status = 503
    error = "temporarily_unavailable"
    description = "The service cannot answer just now. Try again later."

    @property
    def headers(self) -> dict[str, str]:
        """Return how many seconds to wait."""
        return {"Retry-After": "1"}


# What Flask and Werkzeug raise by themselves.
_HTTP_ERRORS = {
    400: ("invalid_request", "The request is malformed."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    412: ("precondition_failed", "It has changed since you read it. Read it again."),
    413: ("content_too_large", "The request body is too large."),
    415: ("unsupported_media_type", "This address does not take a request body of this Content-Type."),
    428: ("precondition_required", "Send the header If-Match with the ETag of what you have read."),
    503: (Unavailable.error, Unavailable.description),
}
_SERVER_ERROR = ("server_error", "The service failed to answer this request.")


def init_app(app: Flask) -> None:
    """Answer every error of `app` in the one form."""
    app.register_error_handler(ApiError, respond)
    app.register_error_handler(HTTPException, _respond_to_http_error)


def respond(error: ApiError) -> Response:
    """Make the response to a refusal; a challenge names this service's metadata (RFC 9728 section 5.1)."""
    headers = error.headers
    if error.challenge is not None:
        parameters = error.challenge | {"resource_metadata": current_app.extensions["resource_metadata"]}
        quoted = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        headers = {**headers, "WWW-Authenticate": f"Bearer {quoted}"}
    return _make_response(error.status, error.error, error.description, headers)


def _respond_to_http_error(error: HTTPException) -> Response:
    original = error.get_response()
    status = original.status_code
    code, description = _HTTP_ERRORS.get(status, _HTTP_ERRORS[400] if status < 500 else _SERVER_ERROR)
    kept = {name: value for name, value in original.headers if name in {"Allow", "Retry-After"}}
    return _make_response(status, code, description, kept)


def _make_response(status: int, error: str, description: str, headers: dict[str, str]) -> Response:
    response = jsonify(error=error, error_description=description)
    response.status_code = status
    response.headers.update(headers)
    return response
