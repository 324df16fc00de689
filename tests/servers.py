"""Run the services as users do: under gunicorn, each in a folder of its own."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.secrets import find_secrets, remember

ROOT = Path(__file__).parent.parent
PATIENCE = 60  # seconds that a busy machine may need for what takes one second on an idle one
STOP_LIMIT = 15  # seconds: stopping takes 0.5 to 2.3 s, and took up to 25 s when signals were lost
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]


@dataclass(frozen=True)
class Server:
    """A gunicorn that serves one of the two applications."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    application: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)

    def workers(self) -> list[int]:
        """Return the process ids of the master and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]


def listen(port: int = 0) -> socket.socket:
    """Return a socket on a free port that no other process can take before gunicorn inherits it."""
    return socket.create_server(("127.0.0.1", port))


def find_port() -> int:
    """Return a port that is free now, for a server that cannot inherit a socket."""
    with listen() as listener:
        port: int = listener.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def serve(
    application: str, listener: socket.socket, environment: dict[str, str], folder: Path
) -> Iterator[Server]:
    """Serve an application of the project until the block ends."""
    log = folder / f"{application}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*GUNICORN, "--bind", f"fd://{listener.fileno()}", f"{application}:app"],
            env=environment_for(environment),
            cwd=folder,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
    url = url_of(listener)
    listener.close()  # gunicorn has it now
    server = Server(url, process, log, application, environment)
    try:
        wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            server.stop()
        assert find_secrets(log.read_text()) == []


@contextmanager
def serve_again(server: Server) -> Iterator[Server]:
    """Serve a killed application again, at the same address and with the files it left."""
    server.process.wait(timeout=PATIENCE)
    port = int(server.url.rpartition(":")[2])
    wait_for(lambda: not is_listening(port))  # killed workers hold it a moment longer
    listener = listen(port)
    with serve(server.application, listener, server.environment, server.log.parent) as again:
        yield again


def environment_for(settings: dict[str, str]) -> dict[str, str]:
    """Return an environment with only the variables that a process needs, and `settings`."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | settings


def run_flask(application: str, command: str, environment: dict[str, str], folder: Path) -> str:
    """Run `flask --app APPLICATION COMMAND` in a folder and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", application, *command.split()],
        env=environment_for(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@dataclass(frozen=True)
class Pair:
    """Both services, which share only a public key."""

    auth: Server
    course: Server
    course_environment: dict[str, str]
    course_folder: Path


@contextmanager
def serve_pair(
    folder: Path,
    listeners: tuple[socket.socket, socket.socket] | None = None,
    auth_settings: dict[str, str] | None = None,
    course_settings: dict[str, str] | None = None,
) -> Iterator[Pair]:
    """Put keys, databases and demo data below a folder, and serve both applications until the block ends."""
    auth_folder, course_folder = folder / "auth", folder / "course"
    auth_listener, course_listener = listeners or (listen(), listen())
    with auth_listener, course_listener:
        auth_environment = {
            "ISSUER": url_of(auth_listener),
            "RESOURCES": url_of(course_listener),
            "AUTH_DATABASE_URL": f"sqlite:///{auth_folder}/auth.db",
            **(auth_settings or {}),
        }
        course_environment = {
            "ISSUER": url_of(auth_listener),
            "RESOURCE": url_of(course_listener),
            "COURSE_DATABASE_URL": f"sqlite:///{course_folder}/course.db",
            **(course_settings or {}),
        }
        copy_home("auth", auth_folder)
        copy_home("course", course_folder)
        with (
            serve("wsgi_auth", auth_listener, auth_environment, auth_folder) as auth,
            serve("wsgi_course", course_listener, course_environment, course_folder) as course,
        ):
            yield Pair(auth, course, course_environment, course_folder)


def copy_home(service: str, folder: Path) -> None:
    """Put keys, and an SQLite database with demo data, of `auth` or `course` into a folder."""
    for name, (content, mode) in make_homes().items():
        path = Path(name)
        if path.parts[0] == service:
            target = folder / path.relative_to(service)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode)


@cache
def make_homes() -> dict[str, tuple[bytes, int]]:
    """Create a key pair, databases and demo data with the commands, and return all files with their modes."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        auth, course = folder / "auth", folder / "course"
        for home in (auth, course):
            (home / "keys").mkdir(parents=True)
        run_flask("wsgi_auth", "keys generate", {}, auth)
        shutil.copy(auth / "keys/public_key.pem", course / "keys/public_key.pem")
        for home in (auth, course):
            settings = {f"{home.name.upper()}_DATABASE_URL": f"sqlite:///{home}/{home.name}.db"}
            run_flask(f"wsgi_{home.name}", "demo-data --upgrade", settings, home)
        return {
            str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            for path in folder.rglob("*")
            if path.is_file()
        }


@contextmanager
def serve_replicas(
    folder: Path, database_url: str, count: int = 2, settings: dict[str, str] | None = None
) -> Iterator[list[Server]]:
    """Serve auth_app several times over one database, with two workers each, until the block ends."""
    environment = {"AUTH_DATABASE_URL": database_url} | (settings or {})
    copy_home("auth", folder)
    if database_url.startswith("sqlite:"):
        shutil.copy(folder / "auth.db", database_url.removeprefix("sqlite:///"))
    else:
        run_flask("wsgi_auth", "demo-data --upgrade", environment, folder)
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            home = folder / f"replica{number}"
            shutil.copytree(folder / "keys", home / "keys")
            listener = stack.enter_context(listen())
            servers.append(stack.enter_context(serve("wsgi_auth", listener, environment, home)))
        yield servers


def call(
    url: str, token: str | None = None, form: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Send a GET, or a POST of a form, and return the status and the JSON of the response."""
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode() if form else None)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    remember(form)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            answer = json.load(response)
            remember(answer)
            return response.status, answer
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def wait_until_ready(server: Server, seconds: float = 2 * PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/readyz", timeout=PATIENCE):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:  # a service without this address is ready too
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready: {server.log.read_text()}")
