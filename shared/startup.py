"""Exit at startup if settings or keys cannot be used, with one line that says how to fix it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask

from flask_resource_server.exceptions import ConfigurationError

# If a worker exits with this status while it boots, gunicorn gives up. After any other status it restarts the
# worker, forever.
EXIT_STATUS = 3


@contextmanager
def refusal(service: str) -> Iterator[None]:
    """Print a `ConfigurationError` as one line on standard error and exit with `EXIT_STATUS`."""
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"{service} cannot start: {error}\n")
        sys.exit(EXIT_STATUS)


def add_check(app: Flask, check: Callable[[], None]) -> None:
    """Register a function for `check_startup`. It raises `ConfigurationError` if `app` must not start."""
    app.extensions.setdefault("startup_checks", []).append(check)


def check_startup(app: object) -> None:
    """Run the registered checks; exit with one line on standard error if one fails, as for unusable keys.

    For a server that can refuse to start (gunicorn.conf.py). Under any other server, keys are read when first
    needed, and requests get 503 until they are good. A WSGI application that is not Flask's has no checks.
    """
    if isinstance(app, Flask):
        with refusal(app.import_name):
            for check in app.extensions.get("startup_checks", ()):
                check()
