"""Take the client's address and the path prefix from the proxies that the settings trust."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

_PREFIX = "HTTP_X_FORWARDED_PREFIX"
_PATH = r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_WELL_FORMED = re.compile(rf"{_PATH}( *, *{_PATH})*")


def init_app(app: Flask, trusted_proxies: int) -> None:
    """Use the client address and path prefix that the nearest `trusted_proxies` proxies report.

    The scheme and host that they report are ignored: no response depends on them.
    """
    if not trusted_proxies:
        return
    proxied = ProxyFix(app.wsgi_app, x_for=trusted_proxies, x_proto=0, x_host=0, x_prefix=trusted_proxies)

    def drop_malformed_prefix(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # A proxy that does not set the header passes on the client's: `//host` would redirect to that host.
        if not _WELL_FORMED.fullmatch(environ.get(_PREFIX, "")):
            environ.pop(_PREFIX, None)
        return proxied(environ, start_response)

    app.wsgi_app = drop_malformed_prefix  # type: ignore[method-assign]
