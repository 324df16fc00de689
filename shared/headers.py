"""Add security headers to every response, such as the Content-Security-Policy of the docs page."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

# Also the policy of the docs page: its scripts and styles are files of ours, and it contacts no other host.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Responses in JSON get only the headers that matter for them; the others are about pages.
DATA_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
PAGE_HEADERS = DATA_HEADERS | {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def init_app(app: Flask) -> None:
    """Add the headers to every response of `app`; a view may override them.

    This is WSGI middleware because that is cheaper: Werkzeug compares each header it adds with all others.
    """
    inner = app.wsgi_app

    def add_headers(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            given = dict(headers)
            # A 304 has no Content-Type, and must have the same headers as the response it confirms.
            is_data = given.get("Content-Type", "application/json") == "application/json"
            ours = DATA_HEADERS if is_data else PAGE_HEADERS
            headers += [(name, value) for name, value in ours.items() if name not in given]
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    app.wsgi_app = add_headers  # type: ignore[method-assign]
