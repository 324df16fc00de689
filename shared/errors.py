"""Turn every error into a JSON response, with fixed sentences that quote nothing from the request."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from flask import Flask, Response, current_app, jsonify
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import BadRequestKeyError, HTTPException, SecurityError, default_exceptions

from flask_resource_server.errors import BearerError, Unauthorized, format_challenge
from flask_resource_server.exceptions import ConfigurationError


class ApiError(Exception):
    """A refused request: an HTTP status, an error code, and a sentence for the client's developer."""

    status = 400
    error = "invalid_request"
    description = "The request is malformed."

    def __init__(self, description: str | None = None) -> None:
        self.description = description or self.description
        super().__init__(self.description)

    @property
    def headers(self) -> dict[str, str]:
        """Return additional headers for the response."""
        return {}


class InvalidRequest(ApiError):
    """A parameter is missing, repeated or malformed (RFC 6749 section 5.2)."""


class Unavailable(ApiError):
    """Something that the request needs is temporarily unavailable (RFC 9110 section 15.6.4)."""

    status = 503
    error = "temporarily_unavailable"
    description = "The service is temporarily unavailable. Try again later."

    @property
    def headers(self) -> dict[str, str]:
        """Return the seconds to wait before a retry."""
        return {"Retry-After": "1"}


# The error code and the sentence for a status that Flask, Werkzeug or `abort` in a view responds with. For
# any other status, the phrase in the standard library is used.
_HTTP_ERRORS = {
    400: (InvalidRequest.error, InvalidRequest.description),
    401: (Unauthorized.error, str(Unauthorized.description)),
    403: ("forbidden", "You are not allowed to do this."),
    404: ("not_found", "There is nothing at this URL."),
    405: ("method_not_allowed", "This URL does not support this method."),
    406: ("not_acceptable", "The response is not available in any format that the Accept header allows."),
    409: ("conflict", "The request conflicts with the current state of the resource."),
    410: ("gone", "The resource at this URL has been removed."),
    412: ("precondition_failed", "The resource has changed since you read it. Read it again and retry."),
    413: ("content_too_large", "The request body is too large."),
    414: ("uri_too_long", "The URL is too long."),
    415: ("unsupported_media_type", "This URL does not accept a request body of this Content-Type."),
    416: ("range_not_satisfiable", "The range in the Range header is not available."),
    422: ("unprocessable_content", "The request body is well-formed, but its values are not valid."),
    428: ("precondition_required", "Send an If-Match header with the ETag of the resource that you read."),
    429: ("too_many_requests", "Too many requests. Try again later."),
    431: ("request_header_fields_too_large", "The request headers are too large."),
    500: ("server_error", "An internal error occurred. The service has logged it."),
    503: (Unavailable.error, Unavailable.description),
}
# Werkzeug's own sentences are written for users of a browser; any other text is from the author of the view.
_OWN_SENTENCES = {kind.description for kind in default_exceptions.values()}
# Except for these, in which Werkzeug quotes the request.
_QUOTING_ERRORS = (BadRequestKeyError, SecurityError)
_QUOTING_SENTENCE = "Failed to decode JSON object"
# These headers describe the page that the JSON replaces.
_CONTENT_HEADERS = {"content-type", "content-length", "content-encoding"}


def init_app(app: Flask) -> None:
    """Register the error handlers of `app`."""
    app.register_error_handler(ApiError, respond)
    app.register_error_handler(BearerError, lambda error: error.get_response())
    app.register_error_handler(HTTPException, _respond_to_http_error)
    app.register_error_handler(ConfigurationError, _respond_to_unusable_keys)


def respond(error: ApiError) -> Response:
    """Return the response for an error."""
    return _make_response(error.status, error.error, error.description, error.headers.items())


def _respond_to_unusable_keys(error: ConfigurationError) -> Response:
    """Respond with 503: keys are read when first needed, and again at later requests until they are good."""
    current_app.logger.error("%s", error)
    return respond(Unavailable())


def describe_status(status: int) -> tuple[str, str]:
    """Return the error code and the fixed sentence for an HTTP status of 400 or more."""
    if status in _HTTP_ERRORS:
        return _HTTP_ERRORS[status]
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # a non-standard status counts as the first of its class (RFC 9110 section 15)
        return _HTTP_ERRORS[400 if status < 500 else 500]
    return re.sub(r"\W+", "_", phrase.lower()), f"{phrase}."


def _respond_to_http_error(error: HTTPException) -> AnyResponse | HTTPException:
    if error.response is not None:
        return error  # its author has provided the whole response
    original = error.get_response()
    status = original.status_code
    code, sentence = describe_status(status)
    headers = [(name, value) for name, value in original.headers if name.lower() not in _CONTENT_HEADERS]
    if status == 401 and "WWW-Authenticate" not in original.headers:
        headers.append(("WWW-Authenticate", format_challenge({})))
    return _make_response(status, code, _text_of_author(error) or sentence, headers)


def _text_of_author(error: HTTPException) -> str | None:
    text = error.description
    if isinstance(error, _QUOTING_ERRORS) or text in _OWN_SENTENCES or text is None:
        return None
    return None if str(text).startswith(_QUOTING_SENTENCE) else str(text)


def _make_response(status: int, error: str, description: str, headers: Iterable[tuple[str, str]]) -> Response:
    response = jsonify(error=error, error_description=description)
    response.status_code = status
    for name, value in headers:
        response.headers.add(name, value)
    return response
