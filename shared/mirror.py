"""Keep a copy on disk of what the issuer publishes at a URL, and live on the last good one while it is down.

The workers of a host share the copy and read it as they would a file that was put there by hand. A thread in
each sees to it that the copy is renewed, by one worker at a time, and all know what the last attempt came to.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from shared.files import lock_folder, replace_file
from shared.startup import StartupError

TIMEOUT = 3  # seconds, for a whole fetch
MAXIMUM_SIZE = 64 * 1024  # bytes of an answer

_logger = logging.getLogger(__name__)


class Mirror:
    """The copy of `url` in the file `copy`, renewed every `refresh` seconds.

    On request it is renewed at once, but never within `cooldown` seconds of the last attempt. `convert` makes
    the copy's content of a body, and raises `StartupError` for one that is not good: then the copy stays.
    """

    def __init__(
        self, url: str, copy: Path, convert: Callable[[bytes], bytes], *, refresh: float, cooldown: float
    ) -> None:
        self._url = url
        self._copy = copy
        self._attempt_file = copy.with_suffix(".attempt")  # changed by every attempt; holds what went wrong
        self._convert = convert
        self._refresh = refresh
        self._cooldown = cooldown
        self._last_attempt = -float("inf")  # of this process, on the monotonic clock
        self._process = 0  # where the thread runs: a fork does not take it along
        self._starting = threading.Lock()
        self._round = threading.Condition()
        self._rounds = 0
        self._is_asked = False

    def keep_current(self) -> None:
        """Start the thread in a process that has none yet, and wait until it has had a first look."""
        if self._process == os.getpid():
            return
        with self._starting:
            if self._process != os.getpid():
                threading.Thread(target=self._run, name=f"mirror of {self._url}", daemon=True).start()
                with self._round:
                    self._round.wait_for(lambda: self._rounds > 0, TIMEOUT)
                self._process = os.getpid()

    def ask(self) -> None:
        """Have the copy renewed, unless the cooldown forbids it, and wait a little until that is done."""
        if self._age() < self._cooldown:
            return
        with self._round:
            rounds = self._rounds
            self._is_asked = True
            self._round.notify_all()
            self._round.wait_for(lambda: self._rounds > rounds, TIMEOUT)

    @property
    def problem(self) -> str | None:
        """Return what went wrong at the last attempt of any worker."""
        try:
            return self._attempt_file.read_text() or None
        except OSError:
            return None

    def renew(self, interval: float) -> str | None:
        """Fetch anew, unless a worker of this host has tried to in the last `interval` seconds.

        Returns what keeps the copy from being up to date.
        """
        try:
            with lock_folder(self._copy.parent):
                if self._age() >= interval:
                    self._attempt()
        except OSError as error:
            problem = f"{self._copy} cannot be written ({error.strerror})"
            _logger.warning("%s", problem)
            return problem
        return self.problem

    def _attempt(self) -> None:
        problem = ""
        try:
            content = self._convert(fetch(self._url))
            if not self._copy.exists() or self._copy.read_bytes() != content:
                replace_file(self._copy, content, 0o644)
        except (OSError, HTTPException, ValueError, StartupError) as error:
            problem = f"{self._url} is of no use ({error})"
        self._last_attempt = time.monotonic()
        if problem != (self.problem or ""):
            stays = f"{problem}: the last good copy stays in force"
            _logger.warning("%s", stays if problem else f"{self._url} is in order again")
        replace_file(self._attempt_file, problem.encode(), 0o644)

    def _age(self) -> float:
        """Return the seconds since the last attempt of any worker."""
        own = time.monotonic() - self._last_attempt
        try:
            age = time.time() - self._attempt_file.stat().st_mtime
        except OSError:
            return own
        return min(own, age) if age >= 0 else own  # a clock was set back

    def _run(self) -> None:
        is_asked = False
        while True:
            self.renew(self._cooldown if is_asked else self._refresh)
            with self._round:
                self._rounds += 1
                self._round.notify_all()
                pause = max(1, self._refresh - self._age())
                is_asked = self._round.wait_for(lambda: self._is_asked, pause)
                self._is_asked = False


def fetch(url: str) -> bytes:
    """GET the body of a 200 answer: no redirect is followed, and no other host asked.

    Raises `OSError`, `HTTPException`, or `StartupError` for another status, too large a body, or a late one.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    is_late = threading.Event()
    try:
        connection.connect()
        # The timeout above is for each packet. This one is for all: whoever sends byte by byte is cut off.
        cut = threading.Timer(TIMEOUT, _cut, [connection.sock, is_late])
        cut.start()
        try:
            connection.request("GET", parts.path or "/", headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = response.read(MAXIMUM_SIZE + 1)
        finally:
            cut.cancel()
    except (OSError, HTTPException):
        if not is_late.is_set():  # what comes of being cut off differs
            raise
    finally:
        connection.close()
    if is_late.is_set():
        raise StartupError(f"the answer takes longer than {TIMEOUT} seconds")
    if response.status != 200:
        raise StartupError(f"the answer is {response.status}, not 200")
    if len(body) > MAXIMUM_SIZE:
        raise StartupError(f"the answer has more than {MAXIMUM_SIZE} bytes")
    return body


def _cut(connected: socket.socket, is_late: threading.Event) -> None:
    is_late.set()
    with contextlib.suppress(OSError):  # it was closed in this very moment
        connected.shutdown(socket.SHUT_RDWR)
