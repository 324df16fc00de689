"""Codes and logout notices with several processes and one database, even if one process is killed."""

import os
import re
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import read_claims
from tests.processes.test_races import TOGETHER, post, send_together, serve_over
from tests.receivers import Receiver, serve_receiver
from tests.servers import PATIENCE, Server, call, run_flask, wait_for
from tests.sign_in import CALLBACK, Application

NETWORKS = {"BACKCHANNEL_LOGOUT_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(params=["sqlite", "postgresql"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    with serve_over(request, tmp_path, NETWORKS) as servers:
        yield servers


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serve_receiver() as served:
        yield served


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Do not follow redirects."""


class Browser:
    """Keeps cookies, and does not follow redirects."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()), _NoRedirects
        )

    def open(self, url: str, form: dict[str, str] | None = None) -> str:
        """Return the text of a page, or the address of a redirect."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self._opener.open(url, data, timeout=PATIENCE) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 303:
                    raise
                return str(error.headers["Location"])

    def sign_in(self, server: Server) -> None:
        fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.open(f"{server.url}/login"))
        form = dict(fields) | {"username": "student1", "password": "password123"}
        assert self.open(f"{server.url}/login", form) == "/account"


def command(server: Server, text: str) -> str:
    return run_flask(server.application, text, server.environment, server.log.parent)


def test_one_of_twenty_simultaneous_code_exchanges_succeeds_and_is_revoked(replicas: list[Server]) -> None:
    command(replicas[0], f"clients add web --redirect-uri {CALLBACK} --public --scope courses:read")
    web, browser = Application("web"), Browser()
    browser.sign_in(replicas[0])
    for number in range(3):
        answer = browser.open(f"{replicas[number % 2].url}{web.url()}")
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(answer).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "client_id": "web"}
        form |= {"redirect_uri": CALLBACK, "code_verifier": web.verifier}

        answers = send_together([post(replicas, n, form) for n in range(TOGETHER)])

        assert Counter(status for status, _ in answers) == {200: 1, 400: TOGETHER - 1}
        (tokens,) = [answer for status, answer in answers if status == 200]
        assert call(f"{replicas[0].url}/userinfo", tokens["access_token"])[0] == 401


def test_logout_notice_of_a_killed_process_is_sent_by_another(
    replicas: list[Server], receiver: Receiver
) -> None:
    first, second = replicas
    uri = f"{receiver.url}/logout"
    command(first, f"clients add app --public --grant password --backchannel-logout-uri {uri}")
    student = {"username": "student1", "password": "password123", "client_id": "app"}
    _, login = call(f"{first.url}/token", form=student)
    receiver.hanging = {"/logout"}
    assert call(f"{first.url}/revoke", form={"token": login["access_token"], "client_id": "app"})[0] == 200
    wait_for(lambda: len(receiver.forms) == 1)

    for process in first.workers():
        os.kill(process, signal.SIGKILL)
    receiver.hanging.clear()

    def is_sent_again() -> bool:
        time.sleep(0.5)  # a fetch makes auth_app send due notices; do not flood it
        with urllib.request.urlopen(f"{second.url}/.well-known/status-list/1", timeout=PATIENCE):
            return len(receiver.forms) == 2

    wait_for(is_sent_again)
    one, two = map(read_claims, receiver.tokens())
    assert one["sid"] == two["sid"] == read_claims(login["access_token"])["sid"]
    assert one["jti"] != two["jti"]
