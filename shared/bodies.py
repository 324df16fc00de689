"""Read request bodies: once, in full, up to a maximum size; and decode forms and JSON strictly."""

from collections.abc import Set
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flask_resource_server.tokens.strict_json import RepeatedMember, parse_json, unique_members
from shared.errors import InvalidRequest

MAXIMUM_BYTES = 64 * 1024
MAXIMUM_FIELDS = 100  # of a form

_REPEATED = "A parameter is repeated."


def init_app(app: Flask) -> None:
    """Read the body of every request before its view runs; a body over `MAXIMUM_BYTES` gets a 413."""
    app.config["MAX_CONTENT_LENGTH"] = MAXIMUM_BYTES
    app.before_request(_read)


def _read() -> None:
    if "CONTENT_LENGTH" not in request.environ and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return  # the request has no body (RFC 9112 section 6.3)
    try:
        data = request.get_data()
    except HTTPException:
        raise
    except Exception:  # each WSGI server raises its own errors when the framing of a body is broken
        raise InvalidRequest("The request body could not be read.") from None
    # Werkzeug silently truncates a chunked body at the maximum.
    if request.content_length is None and len(data) >= MAXIMUM_BYTES:
        raise RequestEntityTooLarge
    # If the connection ends early, gunicorn passes on the part it received as if it were the whole body.
    if request.content_length is not None and len(data) != request.content_length:
        raise InvalidRequest("The request body is shorter than its Content-Length.")


def decode_form(lists: Set[str]) -> dict[str, str | list[str]]:
    """Decode the body as a form. Parameters without a value count as omitted (RFC 6749 section 3.2).

    Parameters in `lists` may be repeated and become lists. Raises `InvalidRequest`, also if another parameter
    is repeated.
    """
    try:
        pairs = parse_qsl(
            request.get_data().decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAXIMUM_FIELDS,
        )
    except ValueError:
        raise InvalidRequest("The request body is not form-encoded UTF-8.") from None
    try:
        singles = unique_members(pair for pair in pairs if pair[0] not in lists)
    except RepeatedMember:
        raise InvalidRequest(_REPEATED) from None
    form = singles | {name: [value for key, value in pairs if key == name and value] for name in lists}
    return {name: value for name, value in form.items() if value}


def decode_json() -> Any:
    """Decode the body as strict JSON. Raises `InvalidRequest`."""
    try:
        return parse_json(request.get_data())
    except RepeatedMember:
        raise InvalidRequest(_REPEATED) from None
    except ValueError:
        raise InvalidRequest("The request body is not valid JSON in UTF-8.") from None
