"""Refuse to start, in one line that says what is wrong and how to mend it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# gunicorn gives up when a worker exits with this status while it boots; after any other it starts the worker
# again, for ever.
EXIT_STATUS = 3


class StartupError(Exception):
    """What keeps a service from starting, in one line for its operator."""


@contextmanager
def refusal(service: str) -> Iterator[None]:
    """Print a `StartupError` as one line on standard error and exit with `EXIT_STATUS`."""
    try:
        yield
    except StartupError as error:
        sys.stderr.write(f"{service} cannot start: {error}\n")
        sys.exit(EXIT_STATUS)
