"""Keep a document that an issuer publishes up to date, and continue with the last good one if a fetch fails.

Each process holds the document in memory (memory_copy.py). A background thread renews it (renewal.py), from
the copy on disk if another process of the host has fetched it, and otherwise from the issuer. A request waits
for that thread only if it needs something that the document lacks, and only one request waits at a time.
"""

import time
from typing import Generic

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.documents.renewal import Renewal
from flask_resource_server.documents.sources import D, Source


class FetchedCopy(Generic[D]):
    """The newest document of a source. Safe to share between threads and across forks.

    For `cooldown` seconds after any process of the host has started a fetch, no request causes another one.
    With a `NoDiskCopy`, only fetches of this process count. Nothing is read and no thread starts before the
    first use, and a forked process starts from scratch.
    """

    def __init__(self, source: Source[D], disk: DiskCopy | NoDiskCopy, *, cooldown: float) -> None:
        self._process = PerProcess(lambda: Renewal(source, disk, cooldown))

    @property
    def document(self) -> D | None:
        """Return the newest known document, or None if there has never been one.

        After a start, waits for the first fetch if the copy on disk is old enough to be fetched again.
        """
        return self._process.get().document()

    def request_renewal(self) -> bool:
        """Have the document renewed if that may help; return whether it is known to be current.

        Call this when the document lacks what a request needs. One caller at a time waits, for at most
        `TIMEOUT` seconds; the others return at once. While there is no document yet, all callers wait for the
        first fetch.
        """
        return self._process.get().request_renewal()

    def check(self) -> str | None:
        """Return why the last fetch failed, or None if it succeeded. May wait for the first fetch."""
        renewal = self._process.get()
        if renewal.document() is None or not renewal.has_finished_a_round:
            renewal.request_renewal()
        return renewal.newest_attempt().problem

    @property
    def problem(self) -> str | None:
        """Return why the last fetch failed, or None if it succeeded. Never waits."""
        return self._process.get().newest_attempt().problem

    @property
    def age(self) -> float | None:
        """Return the seconds since the document was last known to be current, or None if it never was."""
        good_at = self._process.get().newest_attempt().good_at
        return None if good_at is None else time.time() - good_at
