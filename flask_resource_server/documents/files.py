"""Replace files in one step, and follow files that others replace."""

import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.exceptions import ConfigurationError

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class FollowedFile(Generic[T]):
    """What a file holds: read when it is first needed, and again whenever the file changes.

    `read` makes the value of a path and raises `ConfigurationError` if it cannot. The last good value then
    stays in use, and `problem` says what is wrong. Safe for threads and forks.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path = path
        self._read = read
        self._lock = PerProcess(threading.Lock)
        self._value: T | None = None
        self._version: tuple[int, ...] | None = None  # of the file when it was read last
        self._problem: ConfigurationError | None = None
        self._read_at = float("-inf")  # on the monotonic clock

    @property
    def value(self) -> T:
        """Return the last good value. An unchanged file costs one system call.

        Raises the `ConfigurationError` of `read` if there never was a good one.
        """
        self._follow()
        if self._value is None:
            assert self._problem
            raise self._problem.with_traceback(None)
        return self._value

    @property
    def problem(self) -> str | None:
        """Return what is wrong with the file as it is now."""
        self._follow()
        return str(self._problem) if self._problem else None

    def _follow(self) -> None:
        if self._is_due(file_version(self._path)):
            with self._lock.get():  # lest an older reading replace a newer one
                self._read_anew(file_version(self._path))

    def _is_due(self, version: tuple[int, ...] | None) -> bool:
        """Tell whether to read the file: when it has changed, and once a second while it is not good.

        What is wrong may lie elsewhere, as with a folder that may not be entered.
        """
        if self._value is None and self._problem is None:
            return True
        is_retry = self._problem is not None and time.monotonic() >= self._read_at + 1
        return version != self._version or is_retry

    def _read_anew(self, version: tuple[int, ...] | None) -> None:
        """Read the file; `version` was taken before, so that a change in between is seen the next time."""
        if not self._is_due(version):  # another thread has read it
            return
        is_first = self._value is None and self._problem is None
        known_problem = self._problem
        try:
            self._value, self._problem = self._read(self._path), None
        except ConfigurationError as error:
            self._problem = error
        self._version, self._read_at = version, time.monotonic()
        if self._problem:
            if self._value is not None and str(self._problem) != str(known_problem):
                _logger.warning("%s. The last good version of it stays in use until then.", self._problem)
        elif not is_first:
            _logger.warning("%s changed and was read again", self._path)


def file_version(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file does; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    # ctime, which a new mode changes too: that alone may mend a file that could not be read.
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def replace_file(path: Path, content: bytes, mode: int, *, like: Path | None = None) -> None:
    """Let `path` hold `content` all at once, whatever happens meanwhile.

    Owner, group and mode are those of the file `like` where there is one, else ours and `mode`. Only one
    process may do this to a path at a time. Raises `OSError`.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # of one who was killed
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                model = (like or path).stat()
                os.fchown(file.fileno(), model.st_uid, model.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(model.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Let one process at a time do what changes a folder, or what a file stands for. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
