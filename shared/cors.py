"""Let scripts of other origins read answers: the public documents everybody's, the API those of a setting."""

import re
from collections.abc import Sequence
from typing import Any

from flask import Flask
from flask_cors import CORS

# The same header whether or not there is an Origin: caches keep one answer for all.
_PUBLIC: dict[str, Any] = {
    "origins": "*",
    "methods": ["GET", "HEAD"],
    "send_wildcard": True,
    "vary_header": False,
}
# What is neither here nor named by the application stays closed, as pages must where people sign in.
_PUBLIC_PATHS = (r"/\.well-known/.*", r"/openapi\.json$")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_REQUEST_HEADERS = ["Authorization", "Content-Type", "If-Match", "If-None-Match"]
_RESPONSE_HEADERS = ["ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]
_MAXIMUM_AGE = 600  # seconds for which a browser remembers what it may send


def init_app(app: Flask, origins: Sequence[str], paths: Sequence[str]) -> None:
    """Open the public documents to every origin, and `paths`, regular expressions, to `origins`.

    No answer allows credentials: tokens travel in a header, which a script sets itself, and never in cookies.
    """
    api = {
        "origins": list(origins),
        "methods": _METHODS,
        "allow_headers": _REQUEST_HEADERS,
        "expose_headers": _RESPONSE_HEADERS,
        "max_age": _MAXIMUM_AGE,
        "always_send": False,  # without an Origin, it would name them all
    }
    resources: dict[str | re.Pattern[str], dict[str, Any]] = dict.fromkeys(_PUBLIC_PATHS, _PUBLIC)
    if origins:
        resources |= dict.fromkeys(paths, api)
    CORS(app, resources=resources, supports_credentials=False)
