"""Lock files and folders against other threads and processes, where the platform has such locks."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flask_resource_server.documents.processes import PerProcess

try:
    import fcntl
except ImportError:  # Windows has no lock that the system releases when its process is killed
    fcntl = None  # type: ignore[assignment]

HAS_PROCESS_LOCKS = fcntl is not None

# One lock for each file. A POSIX record lock belongs to the process, so it does not exclude other threads of
# it. Worse, closing any descriptor of the file releases the record lock, so only one thread may have it open.
_thread_locks: PerProcess[dict[Path, threading.Lock]] = PerProcess(dict)


@contextlib.contextmanager
def hold_lock(path: Path, seconds: float) -> Iterator[bool]:
    """Try for some seconds to lock a file against other threads and processes; yield whether that worked.

    The file is created if it does not exist. On a platform without locks between processes, only the threads
    of this process exclude each other. Raises `OSError` if the file cannot be opened or locked.
    """
    deadline = time.monotonic() + seconds
    thread_lock = _thread_locks.get().setdefault(path.resolve(), threading.Lock())
    if not thread_lock.acquire(timeout=seconds):
        yield False
        return
    try:
        if not HAS_PROCESS_LOCKS:
            yield True
            return
        # Do not follow a link, which could make us create a file elsewhere.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            yield _try_to_lock(path, descriptor, deadline)
        finally:
            os.close(descriptor)
    finally:
        thread_lock.release()


def _try_to_lock(path: Path, descriptor: int, deadline: float) -> bool:
    """Acquire a POSIX record lock. Unlike with `flock`, a forked child does not inherit it and keep it."""
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # another process holds it
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        except OSError as error:  # the file system has no locks
            raise OSError(error.errno, error.strerror, str(path)) from None
        else:
            return True


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Wait until a folder is locked against other processes. Does nothing on Windows. Raises `OSError`."""
    if not HAS_PROCESS_LOCKS:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
