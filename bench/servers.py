"""Start the measured servers, with keys and databases in a temporary folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench/bin/python"
NODE = ROOT / "bench/peers/node"
FIRST_PORT = int(os.environ.get("BENCH_PORT", "9000"))
ISSUER = f"http://127.0.0.1:{FIRST_PORT}"
AUDIENCE = "http://127.0.0.1:8082"


def prepare(folder: Path) -> dict[str, str]:
    """Create keys, databases and demo data, and return the environment variables for them."""
    (folder / "keys").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ISSUER": ISSUER,
        "RESOURCE": AUDIENCE,
        "SESSIONS_PER_USER": "1000000",  # one user logs in all the time; no session should be ended for that
        "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.db",
        "COURSE_DATABASE_URL": f"sqlite:///{folder}/course.db",
    }
    run_flask(folder, environment, "wsgi_auth", "keys generate")
    fill_database(folder, environment, "wsgi_auth")
    fill_database(folder, environment, "wsgi_course")
    return environment


def fill_database(folder: Path, environment: dict[str, str], application: str) -> None:
    """Create the tables and the demo data of an application in its database."""
    run_flask(folder, environment, application, "db upgrade")
    run_flask(folder, environment, application, "demo-data")


def run_flask(folder: Path, environment: dict[str, str], application: str, command: str) -> bytes:
    """Run a command of an application, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", application, *command.split()],
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
    ).stdout


@contextmanager
def serve(
    command: list[str], environment: dict[str, str], folder: Path, port: int, cores: str = "0"
) -> Iterator[tuple[str, int]]:
    """Run a server on some cores until the block ends; yield its URL and its process ID."""
    if _listens(port):
        raise RuntimeError(f"port {port} is in use: stop what listens there, or set BENCH_PORT")
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *command], env=environment, cwd=folder, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)  # a server closes its connections first, which takes long on a busy machine


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gunicorn(application: str, port: int, workers: int = 1, **options: object) -> list[str]:
    """Return the command that serves an application under gunicorn with our configuration."""
    config = ["--config", str(ROOT / "gunicorn.conf.py"), "--workers", str(workers), "--log-level", "warning"]
    for name, value in options.items():
        config += [f"--{name}", str(value)]
    return [sys.executable, "-m", "gunicorn", *config, "--bind", f"127.0.0.1:{port}", application]


def post(url: str, **form: str) -> dict[str, Any]:
    """Post a form, and return the JSON of the response."""
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


def log_in(url: str) -> dict[str, Any]:
    """Return the tokens of a demo user."""
    return post(f"{url}/token", username="student1", password="password123")  # noqa: S106


def sign_in(url: str) -> str:
    """Sign a demo user in as a browser does, and return the cookies."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(f"{url}/login") as page:
        token = re.findall(r'name="form_token" value="([^"]+)"', page.read().decode())[0]
    form = {"form_token": token, "username": "student1", "password": "password123"}
    browser.open(f"{url}/login", urllib.parse.urlencode(form).encode()).close()
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
