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
import zlib
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from shared.files import lock, replace_file
from shared.startup import StartupError

TIMEOUT = 3  # seconds, for a whole fetch

_logger = logging.getLogger(__name__)


class Mirror:
    """The copy of what is at `url` in the file `copy`, renewed every `refresh()` seconds.

    On request it is renewed at once, but never within `cooldown` seconds of the last attempt. `make` fetches
    what is there and makes the copy's content of it; when it raises, the copy stays as it is.
    """

    def __init__(
        self,
        url: str,
        copy: Path,
        make: Callable[[], bytes],
        *,
        refresh: Callable[[], float],
        cooldown: float,
    ) -> None:
        self._url = url
        self._copy = copy = copy.absolute()
        # Changed by every attempt; holds the time of the last that went well, and what went wrong since.
        self._attempt_file = copy.with_suffix(".attempt")
        self._lock_file = copy.with_suffix(".lock")  # not the folder: to make one copy may need another one
        self._make = make
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
        if self.age < self._cooldown:
            return
        with self._round:
            rounds = self._rounds
            self._is_asked = True
            self._round.notify_all()
            self._round.wait_for(lambda: self._rounds > rounds, TIMEOUT)

    @property
    def problem(self) -> str | None:
        """Return what went wrong at the last attempt of any worker."""
        return self._last_attempt_said()[1]

    @property
    def age_of_copy(self) -> float | None:
        """Return the seconds since the copy was last known to be up to date."""
        good_at = self._last_attempt_said()[0]
        return None if good_at is None else time.time() - good_at

    def _last_attempt_said(self) -> tuple[float | None, str | None]:
        try:
            good_at, _, problem = self._attempt_file.read_text().partition("\n")
            return float(good_at) if good_at else None, problem or None
        except (OSError, ValueError):  # none was made yet, or something else wrote there
            return None, None

    def renew(self, interval: float) -> str | None:
        """Fetch anew, unless a worker of this host has tried to in the last `interval` seconds.

        Returns what keeps the copy from being up to date.
        """
        try:
            self._lock_file.touch()
            with lock(self._lock_file):
                if self.age >= interval:
                    self._attempt()
        except OSError as error:
            problem = f"{self._copy} cannot be written ({error.strerror})"
            _logger.warning("%s", problem)
            return problem
        return self.problem

    def _attempt(self) -> None:
        problem = ""
        try:
            content = self._make()
            if not self._copy.exists() or self._copy.read_bytes() != content:
                replace_file(self._copy, content, 0o644)
        except Exception as error:  # whatever the issuer answers, this goes on
            problem = f"{self._url} is of no use ({error})"
        self._last_attempt = time.monotonic()
        good_at, known_problem = self._last_attempt_said()
        if problem != (known_problem or ""):
            stays = f"{problem}: the last good copy stays in force"
            _logger.warning("%s", stays if problem else f"{self._url} is in order again")
        good_at = good_at if problem else time.time()
        replace_file(self._attempt_file, f"{good_at or ''}\n{problem}".encode(), 0o644)

    @property
    def age(self) -> float:
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
            self.renew(self._cooldown if is_asked else self._refresh())
            with self._round:
                self._rounds += 1
                self._round.notify_all()
                pause = max(1, self._refresh() - self.age)
                is_asked = self._round.wait_for(lambda: self._is_asked, pause)
                self._is_asked = False


class Fetcher:
    """GETs documents of a media type, of `maximum` bytes at the most.

    An address is only asked whether it still has what it had before (RFC 9110 section 13.1.2).
    """

    def __init__(self, media_type: str, maximum: int) -> None:
        self._media_type = media_type
        self._maximum = maximum
        self._known: dict[str, tuple[str, bytes]] = {}  # by URL: an ETag and the body that it stands for

    def fetch(self, url: str) -> bytes:
        """Return the body of the 200 answer at a URL: no redirect is followed, and no other host asked.

        Raises `OSError`, `HTTPException`, or `StartupError` for another status, too large a body, or a late
        one.
        """
        tag, known = self._known.get(url, ("", b""))
        headers = {"Accept": f"{self._media_type}, application/json", "Accept-Encoding": "gzip"}
        response, body = _get(url, headers | ({"If-None-Match": tag} if tag else {}), self._maximum + 1)
        if response.status == 304 and tag:
            return known
        if response.status != 200:
            raise StartupError(f"the answer is {response.status}, not 200")
        if response.headers.get("Content-Encoding") == "gzip":
            body = _unpack(body, self._maximum + 1)
        if len(body) > self._maximum:
            raise StartupError(f"the answer has more than {self._maximum} bytes")
        self._known[url] = response.headers.get("ETag", ""), body
        return body


def _unpack(body: bytes, maximum: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(body, maximum)
    except zlib.error:
        raise StartupError("the answer is not gzip, as it says") from None


def _get(url: str, headers: dict[str, str], maximum: int) -> tuple[HTTPResponse, bytes]:
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
            connection.request("GET", parts.path or "/", headers=headers)
            response = connection.getresponse()
            body = response.read(maximum)
        finally:
            cut.cancel()
    except (OSError, HTTPException):
        if not is_late.is_set():  # what comes of being cut off differs
            raise
    finally:
        connection.close()
    if is_late.is_set():
        raise StartupError(f"the answer takes longer than {TIMEOUT} seconds")
    return response, body


def _cut(connected: socket.socket, is_late: threading.Event) -> None:
    is_late.set()
    with contextlib.suppress(OSError):  # it was closed in this very moment
        connected.shutdown(socket.SHUT_RDWR)
