"""Keep what must not cross a fork apart: threads, locks, and what they guard."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process makes for itself when it first needs it.

    A child of a fork has none of its parent's threads, and a lock that another thread held at the fork is
    never released there. So a child makes the value anew, and never looks at its parent's.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}  # by process ID

    def get(self) -> T:
        """Return the value of this process."""
        process = os.getpid()
        found = self._values.get(process)
        # Threads may make it at the same moment; `setdefault` gives all of them the same one, without a lock.
        return self._values.setdefault(process, self._make()) if found is None else found
