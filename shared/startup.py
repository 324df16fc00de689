"""Refuse to start, in one line that says what is wrong and how to mend it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask

from flask_resource_server.exceptions import ConfigurationError

# gunicorn gives up when a worker exits with this status while it boots; after any other it starts the worker
# again, for ever.
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
    """Let `check_startup` call `check`, which raises `ConfigurationError` if the service must not start."""
    app.extensions.setdefault("startup_checks", []).append(check)


def check_startup(app: object) -> None:
    """Exit with one line on standard error if what `app` reads when first needed is unfit, such as its keys.

    For a server that can refuse to start (gunicorn.conf.py). Under any other, requests are answered 503 until
    it is mended. A WSGI application that is not Flask's has no checks.
    """
    if isinstance(app, Flask):
        with refusal(app.import_name):
            for check in app.extensions.get("startup_checks", ()):
                check()
