"""Replace files in one step, and follow those that others replace."""

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

from shared.startup import StartupError

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class FollowedFile(Generic[T]):
    """What a file holds: read again when the file changes, and kept as it was when a change is for the worse.

    `read` makes the value of a path, and raises `StartupError` where it can't: from here for the first time,
    unless there is a `default`; later on the last good value stays, and `problem` says in one line what is
    wrong. A change for the good is logged unless it is `routine`.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], T], default: T | None = None, *, routine: bool = False
    ) -> None:
        self._path = path
        self._read = read
        self._routine = routine
        self._lock = threading.Lock()
        self._version = _version(path)  # taken before the file is read, lest a change in between be missed
        self._problem: str | None = None
        self._retry_at = 0.0
        try:
            self._value = read(path)
        except StartupError as error:
            if default is None:
                raise
            self._value, self._problem = default, str(error)

    @property
    def value(self) -> T:
        """Return the last good value. An unchanged file costs one system call."""
        self._follow()
        return self._value

    @property
    def problem(self) -> str | None:
        """Return what is wrong with the file as it is now."""
        self._follow()
        return self._problem

    def _follow(self) -> None:
        if self._is_due(_version(self._path)):
            with self._lock:  # lest an older reading replace a newer one
                self._take_over(_version(self._path))

    def _is_due(self, version: tuple[int, ...] | None) -> bool:
        """Tell whether to read the file: when it changed, and once a second while it is not good.

        What is wrong may lie elsewhere: a key may be missing that the file is verified by.
        """
        return version != self._version or (self._problem is not None and time.monotonic() >= self._retry_at)

    def _take_over(self, version: tuple[int, ...] | None) -> None:
        if not self._is_due(version):  # another thread was here first
            return
        known, known_problem = self._version, self._problem
        try:
            self._value, self._problem = self._read(self._path), None
        except StartupError as error:
            self._problem = str(error)
        self._version, self._retry_at = version, time.monotonic() + 1
        if (known, known_problem) == (version, self._problem):
            return
        if self._problem:
            _logger.warning("%s. Until then what was there before stays in force.", self._problem)
        elif known_problem or not self._routine:
            _logger.warning("%s changed and was read again", self._path)


def _version(path: Path) -> tuple[int, ...] | None:
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
