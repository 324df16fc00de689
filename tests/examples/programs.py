"""Start the programs in examples/ as processes, next to a running pair of services."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.npm import install_packages
from tests.secrets import find_secrets
from tests.servers import (
    PATIENCE,
    ROOT,
    Pair,
    Server,
    call,
    environment_for,
    find_port,
    listen,
    serve_pair,
    url_of,
    wait_until_ready,
)

EXAMPLES = ROOT / "examples"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

# The path that clients request from each service.
PATHS = {
    "service": "/reports",
    "nginx": "/",
    "fastapi": "/reports",
    "node": "/reports",
    "downstream": "/summary",
}

BACKEND = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers).encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Answer:
    """The response of a service; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    url: str, token: str | None = None, method: str = "GET", body: object = None, **headers: str
) -> Answer:
    """Send a request with a token, and with JSON if there is a `body`."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    if data:
        request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        received = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, received, response.read().decode())


@contextmanager
def run_program(
    command: list[str], folder: Path, settings: dict[str, str], url: str, log: Path
) -> Iterator[None]:
    """Run a server in a folder until the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment_for({"PYTHONDONTWRITEBYTECODE": "1", **settings}),
            stdout=output,
            stderr=output,
        )
    server = Server(url, process, log)
    try:
        wait_until_ready(server)
        yield
    finally:
        if process.poll() is None:
            server.stop()
        assert find_secrets(log.read_text()) == []


@dataclass
class Examples:
    """Starts each example when it is first needed. All are stopped with `stack`."""

    pair: Pair
    urls: dict[str, str]  # by name of the example
    folder: Path
    stack: ExitStack
    running: set[str] = field(default_factory=set)

    def start(self, name: str) -> str:
        """Return the URL of an example's protected path."""
        if name not in self.running:
            self.running.add(name)
            folder = self.folder / name
            folder.mkdir()
            self.stack.enter_context(
                serve_example(name, self.urls[name], self.pair.auth.url, self.pair, folder)
            )
        return self.urls[name] + PATHS[name]

    def log_in(self, username: str = "student1", password: str = "password123", **form: str) -> str:
        """Return an access token."""
        form |= {"username": username, "password": password}
        status, answer = call(f"{self.pair.auth.url}/token", form=form)
        assert status == 200, answer
        token: str = answer["access_token"]
        return token


@contextmanager
def serve_examples(folder: Path) -> Iterator[Examples]:
    """Serve both services until the block ends; auth_app issues tokens for every example too."""
    urls = {name: f"http://127.0.0.1:{find_port()}" for name in PATHS}
    listeners = listen(), listen()
    settings = {"RESOURCES": " ".join([url_of(listeners[1]), *urls.values()]), "STATUS_LIST_TTL": "1"}
    with serve_pair(folder / "pair", listeners, auth_settings=settings) as pair, ExitStack() as stack:
        yield Examples(pair, urls, folder, stack)


@contextmanager
def serve_example(name: str, url: str, issuer: str, pair: Pair, folder: Path) -> Iterator[None]:
    """Serve one example, which trusts `issuer`, at a URL until the block ends."""
    port = url.rpartition(":")[2]
    flask = {"FLASK_OAUTH_ISSUER": issuer, "FLASK_OAUTH_RESOURCE": url}
    plain = {"OAUTH_ISSUER": issuer, "OAUTH_RESOURCE": url}
    gunicorn = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    log = folder / "log"
    with ExitStack() as stack:
        match name:
            case "service":
                command, settings = [*gunicorn, "app:create_app()"], flask
            case "downstream":
                command, settings = [*gunicorn, "app:app"], flask | {"COURSES_URL": pair.course.url}
            case "fastapi":
                command = [sys.executable, "-m", "uvicorn", "--port", port, "app:app"]
                settings = plain
            case "node":
                folder = install_packages(EXAMPLES / "node", folder)
                command, settings = ["node", "server.js"], plain | {"PORT": port}
            case "nginx":
                command, settings = stack.enter_context(serve_behind_nginx(port, flask, folder)), {}
        home = folder if name == "node" else EXAMPLES / name
        stack.enter_context(run_program(command, home, settings, url, log))
        yield


@contextmanager
def serve_behind_nginx(port: str, settings: dict[str, str], folder: Path) -> Iterator[list[str]]:
    """Serve the verifier and a backend until the block ends, and yield the command for nginx."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    verifier, backend = str(find_port()), str(find_port())
    configuration = (EXAMPLES / "nginx/nginx.conf").read_text()
    for old, new in {
        "127.0.0.1:8083": f"127.0.0.1:{port}",
        "127.0.0.1:8084": f"127.0.0.1:{verifier}",
        "127.0.0.1:8085": f"127.0.0.1:{backend}",
        "/tmp/nginx-example": f"{folder}/nginx",  # noqa: S108
    }.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "nginx.conf").write_text(configuration)
    gunicorn = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{verifier}", "app:app"]
    commands = [
        (gunicorn, EXAMPLES / "nginx", verifier),
        ([sys.executable, "-c", BACKEND, backend], folder, backend),
    ]
    with ExitStack() as stack:
        for number, (command, home, its_port) in enumerate(commands):
            its_url, log = f"http://127.0.0.1:{its_port}", folder / f"log{number}"
            stack.enter_context(run_program(command, home, settings, its_url, log))
        yield [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"]
