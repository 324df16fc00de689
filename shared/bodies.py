"""Read each request's body once, whole and under a cap, and decode it strictly."""

from collections.abc import Set
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flask_resource_server.tokens.strict_json import RepeatedMember, parse_json, unique_members
from shared.errors import InvalidRequest

MAXIMUM_BYTES = 64 * 1024

_REPEATED = "A parameter is repeated."


def init_app(app: Flask) -> None:
    """Read the body of every request before its view runs; one over `MAXIMUM_BYTES` is answered 413."""
    app.config["MAX_CONTENT_LENGTH"] = MAXIMUM_BYTES
    app.before_request(_read)


def _read() -> None:
    if "CONTENT_LENGTH" not in request.environ and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return  # there is none (RFC 9112 section 6.3)
    try:
        data = request.get_data()
    except HTTPException:
        raise
    except Exception:  # a server raises errors of its own kinds when the framing of a body is broken
        raise InvalidRequest("The request body could not be read.") from None
    # Werkzeug cuts a body in chunks at the cap and says nothing.
    if request.content_length is None and len(data) >= MAXIMUM_BYTES:
        raise RequestEntityTooLarge
    # gunicorn hands on what came before the connection ended as if it were all.
    if request.content_length is not None and len(data) != request.content_length:
        raise InvalidRequest("The request body is shorter than its Content-Length.")


def decode_form(lists: Set[str]) -> dict[str, str | list[str]]:
    """Decode the body as a form; a parameter without a value counts as omitted (RFC 6749 section 3.2).

    Those named in `lists` become lists. Raises `InvalidRequest`, for any other that is repeated too.
    """
    try:
        pairs = parse_qsl(
            request.get_data().decode(), keep_blank_values=True, errors="strict", max_num_fields=100
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
    """Decode the body as JSON, strictly. Raises `InvalidRequest`."""
    try:
        return parse_json(request.get_data())
    except RepeatedMember:
        raise InvalidRequest(_REPEATED) from None
    except ValueError:
        raise InvalidRequest("The request body is not valid JSON in UTF-8.") from None
