"""CORS: public documents are open to scripts of every origin, the API to the origins in CORS_ORIGINS."""

import re
from collections.abc import Sequence
from typing import Any

from flask import Flask, Response, request
from flask_cors import CORS

# The response is the same with and without an Origin, so that caches keep one for everybody.
_PUBLIC: dict[str, Any] = {
    "origins": "*",
    "methods": ["GET", "HEAD"],
    "send_wildcard": True,
    "vary_header": False,
}
# Every other path stays closed unless the application lists it: sign-in pages must be.
_PUBLIC_PATHS = (r"/\.well-known/.*", r"/openapi\.json")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_REQUEST_HEADERS = ["Authorization", "Content-Type", "If-Match", "If-None-Match"]
_RESPONSE_HEADERS = ["ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]
_MAXIMUM_AGE = 600  # seconds for which browsers cache the result of a preflight request


def init_app(app: Flask, origins: Sequence[str], paths: Sequence[str]) -> None:
    """Open the public documents to every origin, and `paths` to `origins`; error responses too.

    `paths` are regular expressions for whole paths, without the prefix of a proxy. No response allows
    credentials: a script sends its token in a header, never in a cookie.
    """
    resources: dict[str | re.Pattern[str], dict[str, Any]] = {_compile(_PUBLIC_PATHS): _PUBLIC}
    if origins:
        api_paths = _compile(paths)
        resources[api_paths] = _allow(origins)
        _vary_by_origin(app, api_paths)
    CORS(app, resources=resources, supports_credentials=False)


def _compile(paths: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(paths)})\Z")


def _allow(origins: Sequence[str]) -> dict[str, Any]:
    return {
        # Flask-CORS treats a string with `[`, `*` or `?` as a regular expression, which it matches at the
        # start and without regard to case: `http://[::1]` would allow `http://1.example.com`, and not itself.
        "origins": [re.compile(re.escape(origin) + r"\Z") for origin in origins],
        "methods": _METHODS,
        "allow_headers": _REQUEST_HEADERS,
        "expose_headers": _RESPONSE_HEADERS,
        "max_age": _MAXIMUM_AGE,
        "always_send": False,  # a request without an Origin is not from a script of another origin
        "vary_header": False,
    }


def _vary_by_origin(app: Flask, paths: re.Pattern[str]) -> None:
    """Add `Vary: Origin` to every response at `paths`.

    Flask-CORS adds it only if it allows the origin. A cache could then serve a response without CORS headers,
    stored for another origin or none, to a script that may read it.
    """

    def add_vary(response: Response) -> Response:
        if paths.match(request.path):
            response.vary.add("Origin")
        return response

    app.after_request(add_vary)
