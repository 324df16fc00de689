"""gunicorn's settings for both services: workers, threads, timeouts, logs. `--bind` gives the address."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from typing import Any


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # workers run this function too when they exit
        shutil.rmtree(folder, ignore_errors=True)


# The folder in which the workers share metrics. It is kept at a reload, when this file is read again.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-")
    atexit.register(_remove, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())


# The signals that stop a worker. They are blocked from before the fork until the worker has its own handlers.
# A signal that arrives earlier would be lost: Python discards it in a new process, and the master's handlers
# do nothing there. The master would then wait for that worker until `graceful_timeout`.
STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def pre_fork(_server: object, _worker: object) -> None:
    """Block the signals that stop a worker until it is ready, and let it share memory with the master.

    Without `gc.freeze`, garbage collection in the worker writes to every object that was created before the
    fork, and the kernel copies all of that memory: the last collection, at exit, took seconds.
    """
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


def _receive_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)


os.register_at_fork(after_in_parent=_receive_signals)


def post_worker_init(_worker: object) -> None:
    """Deliver the blocked signals: the worker has its handlers now."""
    _receive_signals()


def child_exit(_server: object, worker: Any) -> None:
    """Remove the gauges of a worker that has exited; its counters are kept."""
    from prometheus_client.multiprocess import mark_process_dead  # importing it requires the folder

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_starting(server: Any) -> None:
    """Exit if the keys are unusable, before there are workers, which would be restarted again and again."""
    from shared.startup import check_startup  # gunicorn has changed to the project's folder by now

    check_startup(server.app.wsgi())


# The application is loaded once, before the fork, so that a startup error is printed once and stops gunicorn.
preload_app = True
worker_class = "shared.gunicorn_worker.Worker"  # gthread: `sync` closes the connection after each response
workers = 2  # one for each core: requests need CPU time, for Python and OpenSSL, and rarely wait
# A second thread responds while the first waits for the database. More do not help: only one runs at a time,
# and each waits for the others. The 99th percentile of the latency was 16 ms with 1 thread, 17 ms with 2,
# 39 ms with 4 and 54 ms with 8 (docs/explanation/performance.md). Clients that send slowly can occupy all
# threads, so in production a reverse proxy must read requests in full before it passes them on.
threads = 2
limit_request_line = 8190  # sign-in requests may be long; nginx has the same limit
graceful_timeout = 10  # seconds; requests take less than one, so a worker that needs longer hangs

forwarded_allow_ips = ""  # by default, gunicorn takes the scheme from anyone who connects from loopback
header_map = "refuse"  # a header such as X_Forwarded_For, which WSGI cannot distinguish, is an attack
control_socket_disable = True  # both services would use the same path

# gunicorn's own log lines are JSON, like those of the application. `--log-level` works as usual.
logger_class = "shared.gunicorn_logs.Logger"
# `--access-logfile -` logs address, method, path, status, bytes and milliseconds. Query strings and headers
# are left out: they may contain a password or a token.
access_log_format = "%(h)s %(m)s %(U)s %(s)s %(B)s bytes %(M)s ms"
