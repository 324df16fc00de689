"""Serve auth_app's pages and an application to sign in to, and use both as users do."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page

from tests.conftest import PASSWORDS
from tests.secrets import remember
from tests.servers import copy_home, listen, run_flask, serve, url_of
from tests.sign_in import Application

Answer = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Site:
    """A running auth_app, and the redirect URI of the application `web`, at which a server listens."""

    url: str
    application: Application
    answers: list[Answer] = field(default_factory=list)

    def authorize(self, **changes: str) -> str:
        """Return the URL to which the application redirects browsers."""
        return self.url + self.application.url(**changes)


@contextmanager
def serve_site(
    folder: Path, host: str = "127.0.0.1", onward_host: str = "", **settings: str
) -> Iterator[Site]:
    """Serve auth_app with demo data, and register an application that may use any loopback port."""
    home = folder / "auth"
    copy_home("auth", home)
    with listen() as listener, serve_application(host, onward_host) as (port, answers):
        environment = {
            "ISSUER": url_of(listener),
            "AUTH_DATABASE_URL": f"sqlite:///{home}/auth.db",
            **settings,
        }
        # Any port of a loopback address is accepted, but not of the name `localhost` (RFC 8252 section 8.3).
        uri = f"http://{host}:{port}/callback" if host == "localhost" else f"http://{host}/callback"
        command = f"clients add web --public --name Planner --scope courses:read --redirect-uri {uri}"
        run_flask("wsgi_auth", command, environment, home)
        with serve("wsgi_auth", listener, environment, home) as server:
            yield Site(server.url, Application(redirect_uri=f"http://{host}:{port}/callback"), answers)


@contextmanager
def serve_application(host: str = "127.0.0.1", onward_host: str = "") -> Iterator[tuple[int, list[Answer]]]:
    """Listen for browsers that are redirected back; yield the port, and a list of methods and parameters.

    The callback redirects browsers to `onward_host`, if given.
    """
    answers: list[Answer] = []

    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, parameters: str) -> None:
            found = {name: values[0] for name, values in parse_qs(parameters).items()}
            remember({"token": found.get("code")})
            if urlsplit(self.path).path == "/callback":
                answers.append((self.command, found))
                if onward_host:
                    self.send_response(303)
                    self.send_header("Location", f"http://{onward_host}:{server.server_port}/home")
                    self.end_headers()
                    return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Planner</title><h1>Planner</h1>")

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET

    with Server((host.strip("[]"), 0), Callback) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server.server_port, answers
        server.shutdown()


def submit_sign_in(page: Page, username: str = "student1", password: str | None = None) -> None:
    """Fill in the open sign-in page by keyboard, and wait for the result."""
    page.locator("#username").fill("")  # after an error, the name is filled in and the focus is elsewhere
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORDS[username] if password is None else password)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def fail_until_throttled(page: Page, username: str) -> None:
    """Sign in with a wrong password until attempts are throttled."""
    for _ in range(20):
        submit_sign_in(page, username, "wrong")
        if "Too many" in page.get_by_role("alert").inner_text():
            return
    raise AssertionError("failed sign-ins are not throttled")


def walk(page: Page, site: Site) -> Iterator[str]:
    """Open every page, one after the other, and yield the name of each."""
    page.goto(site.authorize())
    yield "sign in to an application"
    submit_sign_in(page, "teacher1", "wrong")
    yield "wrong password"
    fail_until_throttled(page, f"nobody{id(page)}")
    yield "too many attempts"
    page.goto(f"{site.url}/authorize?client_id=nobody")
    yield "unknown application"
    page.goto(f"{site.url}/login")
    yield "sign in"
    submit_sign_in(page)
    yield "account"
    page.goto(f"{site.url}/account?done=sign_in_ended")
    yield "account with a notice"
    page.goto(f"{site.url}/account/password")
    yield "change password"
    for name, text in {"current": "password123", "new": "a long phrase", "repeated": "another"}.items():
        page.locator(f"#{name}_password").fill(text)
    with page.expect_navigation():
        page.locator("button").press("Enter")
    yield "passwords differ"
    page.route("**/form_post.js", lambda route: route.abort())
    page.goto(site.authorize(response_mode="form_post"))
    yield "back to an application"
    page.unroute("**/form_post.js")
    page.goto(f"{site.url}/logout")
    yield "sign out"
    with page.expect_navigation():
        page.locator("button").press("Enter")
    yield "signed out"
