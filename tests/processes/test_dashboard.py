"""The queries of the dashboard and the alerts return data from a real Prometheus."""

import contextlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.drawing import draw_dashboard
from tests.servers import ROOT, Pair, call, find_port, listen, run_flask, serve_pair, wait_for

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")

PANELS: list[dict[str, Any]] = json.loads((ROOT / "deploy/grafana.json").read_text())["panels"]
ALERTS = ROOT / "deploy/alerts.yml"
STUDENT = {"username": "student1", "password": "password123"}
CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - {{job_name: auth_app, static_configs: [{{targets: ["{auth}"]}}]}}
  - {{job_name: course_app, static_configs: [{{targets: ["{course}"]}}]}}
"""


@dataclass
class Watched:
    """Both services, and a Prometheus that watches them."""

    pair: Pair
    url: str

    def ask(self, path: str, **parameters: str | float) -> list[dict[str, Any]]:
        status, answer = call(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def wait_for_series(self, query: str) -> None:
        wait_for(lambda: bool(self.ask("query", query=query)))

    def use(self, seconds: float = 0) -> None:
        """Cause every event that is counted, once or for `seconds`, at varying rates."""
        auth, course, until = self.pair.auth.url, self.pair.course.url, time.monotonic() + seconds
        for number in itertools.count():
            answer = call(f"{auth}/token", form=STUDENT)[1]
            if number % 40 == 0:  # more often, the address would be throttled
                call(f"{auth}/token", form={"username": os.urandom(4).hex(), "password": "wrong password"})
            form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
            call(f"{auth}/token", form=form)
            for _ in range(int(1 + 10 * (1 + time.monotonic() // 20 % 3))):
                call(f"{course}/courses", answer["access_token"])
            call(f"{course}/courses", "no.such.token")
            self.sign_out()
            unknown = f"eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IngifQ.e30.{'A' * 342}"
            call(f"{course}/courses", unknown)
            if time.monotonic() >= until:
                return

    def sign_out(self) -> None:
        """Open the sign-in page, and end sessions of two applications that receive logout notices."""
        auth = self.pair.auth.url
        urllib.request.urlopen(f"{auth}/login").close()
        for client in ("told", "unreachable"):
            login = call(f"{auth}/token", form={**STUDENT, "client_id": client})[1]
            form = urllib.parse.urlencode({"token": login["access_token"], "client_id": client})
            urllib.request.urlopen(f"{auth}/revoke", form.encode()).close()


class Application(BaseHTTPRequestHandler):
    """Accepts every logout notice."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def serve_application() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def add_applications(pair: Pair, port: int) -> None:
    """Register clients with notices that succeed, that fail, and that have failed five times already."""
    folder, environment = pair.auth.log.parent, pair.auth.environment
    for name, host in (("told", "127.0.0.1"), ("unreachable", "127.0.0.2"), ("given-up", "127.0.0.2")):
        options = f"--public --grant password --backchannel-logout-uri http://{host}:{port}/"
        run_flask("wsgi_auth", f"clients add {name} {options}", environment, folder)
    notice = (uuid.uuid4().hex, uuid.uuid4().hex, "given-up", 5, 0)
    insert = (
        "INSERT INTO logout_notices (session_id, user_id, client_id, attempts, due_at) VALUES (?, ?, ?, ?, ?)"
    )
    with contextlib.closing(sqlite3.connect(folder / "auth.db", timeout=60)) as database, database:
        database.execute(insert, notice)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    assert PROMETHEUS
    folder = tmp_path_factory.mktemp("dashboard")
    address, port = f"127.0.0.1:{find_port()}", find_port()
    networks = {"BACKCHANNEL_LOGOUT_NETWORKS": "127.0.0.1/32"}
    settings = {"JWKS_URL": f"http://127.0.0.1:{port}/.well-known/jwks.json"}
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(serve_pair(folder, (listen(port), listen()), networks, settings))
        add_applications(pair, stack.enter_context(serve_application()))
        targets = {name: getattr(pair, name).url.removeprefix("http://") for name in ("auth", "course")}
        (folder / "prometheus.yml").write_text(CONFIGURATION.format(**targets, rules=ALERTS))
        log = stack.enter_context((folder / "prometheus.log").open("wb"))
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        watched = Watched(pair, f"http://{address}")

        def is_watching() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            with contextlib.suppress(OSError, ValueError):  # it is not ready, and says so in plain text
                return len(watched.ask("query", query="up == 1")) == 2
            return False

        try:
            wait_for(is_watching)
            watched.use()
            yield watched
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_every_panel_has_data(watched: Watched, request: pytest.FixtureRequest) -> None:
    pictures: Path | None = request.config.getoption("--screenshots")
    if pictures:
        watched.use(120)

    for panel in PANELS:
        for target in panel["targets"]:
            watched.wait_for_series(target["expr"])

    if pictures:
        (pictures / "dashboard.svg").write_text(draw_dashboard(PANELS, lambda query: history(watched, query)))


def test_every_alert_rule_has_data_and_is_documented(watched: Watched) -> None:
    def find_rules() -> list[dict[str, Any]]:
        answer = call(f"{watched.url}/api/v1/rules")[1]
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    wait_for(lambda: {rule["health"] for rule in find_rules()} == {"ok"})
    explained = (ROOT / "docs/how-to/operate.md").read_text().partition("## Alarms")[2]
    for rule in find_rules():
        assert f"| {rule['name']}" in explained
        # Without its threshold, the query returns data. (No response is a 5xx here.)
        watched.wait_for_series(re.split(r" (?:>|==) ", rule["query"])[0].replace("5..", "2.."))


def test_first_abandoned_logout_notice_fires_the_alert(watched: Watched) -> None:
    watched.wait_for_series('ALERTS{alertname="LogoutNoticesGivenUp", alertstate="firing"}')


def history(watched: Watched, query: str) -> list[dict[str, Any]]:
    now = time.time()
    query = re.sub(r"\[5m\]", "[15s]", query)  # there are two minutes to show, not six hours
    return watched.ask("query_range", query=query, start=now - 110, end=now, step=1)
