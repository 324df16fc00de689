"""gunicorn with the project's configuration stops soon, whenever it is told to."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, environment_for, listen, wait_for

GRACE = 10  # seconds: graceful_timeout, after which workers are killed

# Like the project's configuration, but the second worker gets the signal in the moment in which it is made.
CONFIGURATION = f"""
import os, signal
exec(open({str(ROOT / "gunicorn.conf.py")!r}).read())
_post_fork = globals().get("post_fork", lambda server, worker: None)

def post_fork(server, worker):
    _post_fork(server, worker)
    if worker.age == 2:
        os.kill(os.getpid(), signal.{{signal}})
        open("signalled", "w").close()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGINT"])
def test_worker_that_is_told_to_stop_while_it_boots_does_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n")
    (tmp_path / "conf.py").write_text(CONFIGURATION.format(signal=name))
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
        # The worker that was told to stop ends, and the master makes another one.
        wait_for(lambda: (tmp_path / "log").read_text().count(booted) >= 3)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=2 * GRACE)
