"""Keep threads, locks and what they guard from crossing a fork."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Forks:
    """The number of forks that lie between the first use of this module and this process."""

    number = 0
    _is_counting = False

    @classmethod
    def count(cls) -> None:
        """Begin to count, which importing must not do; the platform may have no forks."""
        if not cls._is_counting and hasattr(os, "register_at_fork"):
            cls._is_counting = True
            os.register_at_fork(after_in_child=cls._add)

    @classmethod
    def _add(cls) -> None:
        cls.number += 1


class PerProcess(Generic[T]):
    """A value that each process creates when it first needs it. Thread-safe.

    A forked process has none of its parent's threads, and a lock that one of them held at the fork is never
    released there. So the child creates a value of its own, and never touches its parent's.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # By the number of forks and the process ID: the ID of a process that has ended is used again, and a
        # server that forks without Python's knowledge changes the ID alone.
        self._values: dict[tuple[int, int], T] = {}

    def get(self) -> T:
        """Return the value of this process."""
        _Forks.count()
        process = _Forks.number, os.getpid()
        found = self._values.get(process)
        # Two threads may create it at the same moment: `setdefault` returns the same one to both.
        return self._values.setdefault(process, self._make()) if found is None else found
