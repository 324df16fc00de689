"""Serve the example applications that users sign in to, next to a running pair of services."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.examples.programs import EXAMPLES, run_program
from tests.npm import install_packages
from tests.secrets import remember
from tests.servers import Pair, find_port, run_flask, serve_pair


@dataclass(frozen=True)
class Applications:
    """The URLs of two applications of different kinds and of the services that they use."""

    pair: Pair
    web: str
    spa: str


def register_client(pair: Pair, client_id: str, *options: str) -> str | None:
    """Register a client with options that contain no spaces, and return its secret."""
    command = " ".join(["clients add", client_id, "--json", *options])
    printed = run_flask("wsgi_auth", command, pair.auth.environment, pair.auth.log.parent)
    (answer,) = (json.loads(line) for line in printed.splitlines() if '"client_secret":' in line)
    remember(answer)
    secret: str | None = answer["client_secret"]
    return secret


def register_application(pair: Pair, client_id: str, callback: str, home: str, *options: str) -> str | None:
    """Register a client for sign-in with the command of the examples' READMEs, and return its secret."""
    uris = ("--redirect-uri", callback, "--post-logout-redirect-uri", home)
    return register_client(pair, client_id, *uris, "--scope", "courses:read", *options)


@contextmanager
def serve_applications(folder: Path) -> Iterator[Applications]:
    """Serve both services and both examples until the block ends."""
    web, spa = (f"http://127.0.0.1:{find_port()}" for _ in range(2))
    auth_settings = {"CORS_ORIGINS": spa, "STATUS_LIST_TTL": "1"}
    with (
        serve_pair(folder / "pair", None, auth_settings, {"CORS_ORIGINS": spa}) as pair,
        serve_web_app(pair, web, folder / "web.log"),
        serve_spa(pair, spa, folder),
    ):
        yield Applications(pair, web, spa)


@contextmanager
def serve_web_app(pair: Pair, url: str, log: Path) -> Iterator[None]:
    """Serve examples/web_app, with a secret of its own."""
    secret = register_application(pair, "my-web-app", f"{url}/callback", f"{url}/", "--name", "Courses")
    assert secret
    settings = {
        "OAUTH_ISSUER": pair.auth.url,
        "COURSES_URL": pair.course.url,
        "CLIENT_ID": "my-web-app",
        "CLIENT_SECRET": secret,
    }
    address = url.removeprefix("http://")
    command = [sys.executable, "-m", "gunicorn", "--threads", "4", "--bind", address, "app:app"]
    with run_program(command, EXAMPLES / "web_app", settings, url, log):
        yield


@contextmanager
def serve_spa(pair: Pair, url: str, folder: Path) -> Iterator[None]:
    """Serve a copy of examples/spa that is configured for this pair of services."""
    home = install_packages(EXAMPLES / "spa", folder)
    for name in ("settings.js", "index.html"):
        text = (home / name).read_text()
        for old, new in {"8081": pair.auth.url, "8082": pair.course.url}.items():
            assert f"http://127.0.0.1:{old}" in text
            text = text.replace(f"http://127.0.0.1:{old}", new)
        (home / name).write_text(text)
    options = ("--public", "--refresh-token", "never", "--name", "Course-list")
    register_application(pair, "my-spa", f"{url}/", f"{url}/", *options)
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
    with run_program(command, home, {}, url, folder / "spa.log"):
        yield
