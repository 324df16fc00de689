"""Keep threads, locks and what they guard from crossing a fork."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process creates when it first needs it. Thread-safe.

    A forked process has none of its parent's threads, and a lock that one of them held at the fork is never
    released there. So the child creates a value of its own, and never touches its parent's.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}  # by process ID

    def get(self) -> T:
        """Return the value of this process."""
        process = os.getpid()
        found = self._values.get(process)
        # Two threads may create it at the same moment: `setdefault` returns the same one to both.
        return self._values.setdefault(process, self._make()) if found is None else found
