"""Let scripts of other origins read answers: the public documents everybody's, the API those of a setting."""

import re
from collections.abc import Sequence
from typing import Any

from flask import Flask, Response, request
from flask_cors import CORS

# The same header whether or not there is an Origin: caches keep one answer for all.
_PUBLIC: dict[str, Any] = {
    "origins": "*",
    "methods": ["GET", "HEAD"],
    "send_wildcard": True,
    "vary_header": False,
}
# What is neither here nor named by the application stays closed, as pages must where people sign in.
_PUBLIC_PATHS = (r"/\.well-known/.*", r"/openapi\.json")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_REQUEST_HEADERS = ["Authorization", "Content-Type", "If-Match", "If-None-Match"]
_RESPONSE_HEADERS = ["ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]
_MAXIMUM_AGE = 600  # seconds for which a browser remembers what it may send


def init_app(app: Flask, origins: Sequence[str], paths: Sequence[str]) -> None:
    """Open the public documents to every origin, and `paths` to `origins`, errors included.

    `paths` are regular expressions that match whole paths without the prefix of a proxy. No response allows
    credentials: tokens travel in a header, which a script sets itself, and never in cookies.
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
        # Flask-CORS takes text with `[`, `*` or `?` for a regular expression, ignores case, and matches
        # beginnings: `http://[::1]` would allow `http://1.example.com`, and not itself.
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

    Flask-CORS adds it only where it allows an origin. A cache could then hand a response without the CORS
    headers, made for another origin or none, to a script that may read it.
    """

    def add_vary(response: Response) -> Response:
        if paths.match(request.path):
            response.vary.add("Origin")
        return response

    app.after_request(add_vary)
