"""Give each process its own threads and locks: those of the parent do not work after a fork."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Forks:
    """Counts the forks between the process that first used this module and the current one."""

    number = 0
    _is_counting = False

    @classmethod
    def count(cls) -> None:
        """Start counting. Not done at import, which must have no side effects; some platforms cannot fork."""
        if not cls._is_counting and hasattr(os, "register_at_fork"):
            cls._is_counting = True
            os.register_at_fork(after_in_child=cls._add)

    @classmethod
    def _add(cls) -> None:
        cls.number += 1


class PerProcess(Generic[T]):
    """A value that each process creates when it first needs it. Thread-safe.

    A forked process has none of its parent's threads, and a lock that one of them held at the time of the
    fork is never released in the child. So the child creates a new value and never touches its parent's.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # Keyed by the number of forks and the process ID. The ID alone is not enough, because the system
        # reuses it. The number alone is not either: a server may fork without Python's knowledge.
        self._values: dict[tuple[int, int], T] = {}

    def get(self) -> T:
        """Return the value of this process."""
        _Forks.count()
        process = _Forks.number, os.getpid()
        found = self._values.get(process)
        # Two threads may create it at the same time: `setdefault` returns the same one to both.
        return self._values.setdefault(process, self._make()) if found is None else found
