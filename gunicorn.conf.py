"""How gunicorn serves either service; the address is given on the command line with `--bind`."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from typing import Any


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # and not a worker's, whose end it is as well
        shutil.rmtree(folder, ignore_errors=True)


# Where the workers' metrics meet. This file is read again at a reload, and the folder stays.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-")
    atexit.register(_remove, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())


# What tells a worker to stop. Blocked from before the fork until the worker has handlers of its own: a signal
# that arrives earlier would be lost (Python discards it in a new process, and the handlers of the master do
# nothing there), and the master would wait for that worker until `graceful_timeout`.
STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def pre_fork(_server: object, _worker: object) -> None:
    """Hold back the signals that stop a worker while it is made, and share the loaded objects with it.

    Without `gc.freeze`, garbage collection in the worker writes to every object that was loaded before
    the fork, and the kernel copies all of that memory: the last collection, at exit, took seconds.
    """
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


def _receive_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)


os.register_at_fork(after_in_parent=_receive_signals)


def post_worker_init(_worker: object) -> None:
    """Deliver what was held back: the worker has its handlers now."""
    _receive_signals()


def child_exit(_server: object, worker: Any) -> None:
    """Forget what a worker was about when it ended; what it had counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # which looks for the folder when imported

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_starting(server: Any) -> None:
    """Refuse to start with unfit keys, before there are workers that would be started again and again."""
    from shared.startup import check_startup  # not before gunicorn has changed to the project's folder

    check_startup(server.app.wsgi())


# Loaded once, before the workers are made: a refusal to start is printed once and ends gunicorn.
preload_app = True
worker_class = "shared.gunicorn_worker.Worker"  # gthread; `sync` closes the connection after each answer
workers = 2  # one for each core: the work is Python's and OpenSSL's, and seldom waits
# More threads do not make a worker faster, since one runs at a time, but each waits for the others: the 99th
# percentile was 16 ms with 1 thread, 17 with 2, 39 with 4, 54 with 8 (docs/explanation/performance.md). The
# second one serves requests while the first waits for the database. Slow clients can occupy both: in
# production a reverse proxy reads requests completely before it passes them on.
threads = 2
limit_request_line = 8190  # a sign-in request may be long; nginx has the same limit
graceful_timeout = 10  # seconds: no request takes one, and a worker that hangs at its end is not waited for

forwarded_allow_ips = ""  # by default whoever connects from loopback may say what scheme was used
header_map = "refuse"  # a header that only looks like another when mapped to WSGI is an attack
control_socket_disable = True  # two services would fight over its path

# gunicorn's own lines are JSON, as the application's are; `--log-level` works as usual.
logger_class = "shared.gunicorn_logs.Logger"
# What `--access-logfile -` writes: address, method, path, status, bytes, milliseconds. A query
# string or a header may hold a password or a token.
access_log_format = "%(h)s %(m)s %(U)s %(s)s %(B)s bytes %(M)s ms"
