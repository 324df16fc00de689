"""Keep a document that the issuer publishes current, and go on with the last good one while it cannot be had.

Each process has the document in memory, and a thread that renews it (renewal.py): from the copy on
disk when another process of the host has fetched it, else from the issuer. A request waits for that thread
only if it needs something that the document lacks, and then one at a time.
"""

import time
from typing import Generic

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.documents.renewal import D, Renewal, Source


class FetchedCopy(Generic[D]):
    """The newest document of a source, safe for threads and forks.

    Within `cooldown` seconds of the start of an attempt by any process of the host, no request causes another
    one. Nothing is read and no thread starts before the first use, and a fork starts afresh.
    """

    def __init__(self, source: Source[D], disk: DiskCopy | NoDiskCopy, *, cooldown: float) -> None:
        self._process = PerProcess(lambda: Renewal(source, disk, cooldown))

    @property
    def document(self) -> D | None:
        """Return the newest document that is known, None if there never was one. It costs a system call."""
        return self._process.get().document()

    def look_again(self) -> bool:
        """Renew the document if that may help, and tell whether it is known to be current.

        Call it for something that the document lacks. One caller at a time waits, at most `TIMEOUT` seconds;
        the others return at once. All wait for the very first attempt, if there is no document before.
        """
        return self._process.get().look_again()

    def check(self) -> str | None:
        """Return why the current state is unknown, None if it is known; wait for a first attempt."""
        renewal = self._process.get()
        if renewal.document() is None or not renewal.has_looked:
            renewal.look_again()
        return renewal.newest_attempt().problem

    @property
    def age(self) -> float | None:
        """Return the seconds since the document was last known to be current."""
        good_at = self._process.get().newest_attempt().good_at
        return None if good_at is None else time.time() - good_at
