"""A web application from another origin uses both services in a real browser."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.servers import Pair, find_port, serve_pair

# Log in, refresh, read courses, and read an error: what a single-page application does.
SCRIPT = """async ([auth, course]) => {
  const post = form => fetch(`${auth}/token`, {method: "POST", body: new URLSearchParams(form)});
  const login = await post({grant_type: "password", username: "student1", password: "password123"});
  const {refresh_token} = await login.json();
  const refresh = await post({grant_type: "refresh_token", refresh_token});
  const {access_token} = await refresh.json();
  const courses = await fetch(`${course}/courses`, {headers: {Authorization: `Bearer ${access_token}`}});
  const refused = await fetch(`${course}/courses`, {headers: {Authorization: "Bearer x.y.z"}});
  return {
    statuses: [login.status, refresh.status, courses.status, refused.status],
    title: (await courses.json()).courses[0].title,
    tag: courses.headers.get("ETag"),
    challenge: refused.headers.get("WWW-Authenticate"),
  };
}"""
READ_KEYS = "async url => (await (await fetch(`${url}/.well-known/jwks.json`)).json()).keys.length"


@contextmanager
def serve_page(folder: Path, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve an empty page, and yield its origin as spelled with `host`."""
    (folder / "index.html").write_text("<!doctype html><title>app</title>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


def run(page: Page, origin: str, pair: Pair) -> dict[str, Any]:
    page.goto(origin)
    result: dict[str, Any] = page.evaluate(SCRIPT, [pair.auth.url, pair.course.url])
    return result


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "cross-site"])
def test_script_logs_in_refreshes_and_reads_courses(host: str, page: Page, tmp_path: Path) -> None:
    """Browsers treat all ports of a host as one site, and report other sites in Sec-Fetch-Site."""
    port = find_port()
    setting = {"CORS_ORIGINS": f"http://{host}:{port}"}
    with (
        serve_pair(tmp_path / "pair", None, setting, setting) as pair,
        serve_page(tmp_path, port, host) as origin,
    ):
        result = run(page, origin, pair)

        assert result["statuses"] == [200, 200, 200, 401]
        assert result["title"] == "Public-key cryptography"
        assert result["tag"]
        assert result["challenge"].startswith('Bearer error="invalid_token"')


def test_script_from_an_unlisted_origin_can_read_only_public_documents(
    page: Page, pair: Pair, tmp_path: Path
) -> None:
    with serve_page(tmp_path) as origin:
        page.goto(origin)

        assert page.evaluate(READ_KEYS, pair.auth.url) == 1
        blocked = page.evaluate(f"({SCRIPT})(['{pair.auth.url}', '{pair.course.url}']).catch(e => e.message)")
        assert blocked == "Failed to fetch"
