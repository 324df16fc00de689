"""gunicorn with the project's configuration stops soon after a signal, whenever it comes."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.servers import GUNICORN, ROOT, STOP_LIMIT, environment_for, listen, url_of, wait_for

# Like the project's configuration, but each of the first workers gets a signal as soon as it is forked.
CONFIGURATION = f"""
import os, signal
exec(open({str(ROOT / "gunicorn.conf.py")!r}).read())
workers = 8
graceful_timeout = 60  # so that a worker that loses a signal cannot stop within the limit
"""
MOMENTS = {
    "after the fork": """
def post_fork(server, worker):
    if worker.age <= workers:
        os.kill(os.getpid(), signal.{signal})
""",
    # On one processor most workers have not run yet when their master sends the signal.
    "during the fork": """
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
made = []

def signal_worker():
    new = set(open("/proc/thread-self/children").read().split()) - set(made)
    if len(made) < workers:
        made.extend(new)
        os.kill(int(new.pop()), signal.{signal})

os.register_at_fork(after_in_parent=signal_worker)
""",
}


def test_objects_loaded_before_the_fork_are_frozen(tmp_path: Path) -> None:
    """Otherwise garbage collection copies them all, which takes seconds when the worker stops."""
    (tmp_path / "app.py").write_text("""
import gc
before = len(gc.get_objects())
def app(environ, start):
    start('200 OK', [('Content-Type', 'application/json')])
    return [b'[%d, %d]' % (before, gc.get_freeze_count())]
""")
    with (
        listen() as listener,
        subprocess.Popen(
            [*GUNICORN, "--bind", f"fd://{listener.fileno()}", "app:app"],
            cwd=tmp_path,
            env=environment_for({}),
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            with urllib.request.urlopen(url_of(listener), timeout=60) as response:
                before, frozen = json.load(response)
        finally:
            process.terminate()
            process.wait(timeout=STOP_LIMIT)
    assert frozen > before * 0.9


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGINT"])
def test_worker_that_is_signalled_during_boot_stops(name: str, moment: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n")
    (tmp_path / "conf.py").write_text(CONFIGURATION + moment.format(signal=name))
    command = [sys.executable, "-m", "gunicorn", "--config", "conf.py"]
    with listen() as listener, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"fd://{listener.fileno()}", "app:app"],
            cwd=tmp_path,
            env=environment_for({}),
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    try:
        booted = "Booting worker"
        # The signalled workers stop, and the master starts new ones.
        wait_for(lambda: (tmp_path / "log").read_text().count(booted) >= 16)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_LIMIT)
