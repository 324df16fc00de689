"""Other servers and forks: creating an application starts no thread and depends on no server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flask_resource_server.tokens.keys import public_jwk
from tests.conftest import KeyPair
from tests.forger import ISSUER, Forger
from tests.issuers import Issuer, copy_path, serve_issuer
from tests.servers import (
    ROOT,
    call,
    copy_home,
    environment_for,
    find_port,
    listen,
    run_flask,
    serve,
    wait_for,
)
from tests.unit.test_status_list import sign as sign_list

# A server that is itself a click command, as granian's and uvicorn's are.
CLICK_SERVER = """
import importlib, sys
import click
from werkzeug.serving import make_server

@click.command()
@click.argument("module")
@click.argument("port", type=int)
def serve(module, port):
    make_server("127.0.0.1", port, importlib.import_module(module).app, threaded=True).serve_forever()

serve()
"""


@contextmanager
def serve_by_click(application: str, environment: dict[str, str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Serve an application, and yield its URL and its log."""
    port, log = find_port(), folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CLICK_SERVER, application, str(port)],
            env=environment_for(environment),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/healthz") or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield url, log
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return call(url)[0] == 200
    except OSError:
        return False


def test_auth_app_works_under_a_server_that_is_a_click_command(tmp_path: Path) -> None:
    environment = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth.db"}
    copy_home("auth", tmp_path)

    with serve_by_click("wsgi_auth", environment, tmp_path) as (url, _):
        form = {"username": "student1", "password": "password123"}
        status, answer = call(f"{url}/token", form=form)
        assert status == 200
        assert call(f"{url}/users/me", answer["access_token"])[0] == 200
        assert call(f"{url}/readyz") == (200, {"status": "ok"})


@pytest.mark.parametrize("application", ["auth", "course"])
def test_missing_keys_cause_503_until_they_are_restored(application: str, tmp_path: Path) -> None:
    environment = {f"{application.upper()}_DATABASE_URL": f"sqlite:///{tmp_path}/{application}.db"}
    copy_home(application, tmp_path)
    (tmp_path / "keys").rename(tmp_path / "good")

    with serve_by_click(f"wsgi_{application}", environment, tmp_path) as (url, log):
        form = {"username": "student1", "password": "password123"} if application == "auth" else None
        path = "/token" if application == "auth" else "/courses"
        assert call(f"{url}{path}", None if form else FORGED, form)[0] == 503
        assert call(f"{url}/readyz")[0] == 503
        assert call(f"{url}/healthz")[0] == 200
        assert "public_key.pem cannot be read" in log.read_text()
        assert "Traceback" not in log.read_text()

        (tmp_path / "good").rename(tmp_path / "keys")

        wait_for(lambda: call(f"{url}{path}", None if form else FORGED, form)[0] in {200, 401})
        wait_for(lambda: call(f"{url}/readyz")[0] == 200 or application == "course")


FORGED = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IngifQ.e30.AAAA"


@pytest.mark.parametrize(
    ("application", "commands"),
    [
        ("wsgi_auth", ["db upgrade", "demo-data", "users list", "clients add reports", "keys generate"]),
        ("wsgi_course", ["db upgrade", "demo-data"]),
    ],
)
def test_commands_need_no_keys_and_no_issuer(application: str, commands: list[str], tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    kind = application.removeprefix("wsgi_").upper()
    environment = {f"{kind}_DATABASE_URL": f"sqlite:///{tmp_path}/test.db"}
    if kind == "COURSE":
        environment["JWKS_URL"] = "http://127.0.0.1:9/jwks.json"
    for command in commands:
        run_flask(application, command, environment, tmp_path)


@pytest.mark.parametrize("application", ["wsgi_auth", "wsgi_course"])
def test_explain_token_reports_missing_keys_in_one_line(application: str, tmp_path: Path) -> None:
    explained = subprocess.run(
        [sys.executable, "-m", "flask", "--app", application, "explain-token"],
        env=environment_for({}),
        cwd=tmp_path,
        input=FORGED,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert explained.returncode == 1
    assert explained.stderr.startswith("Error: keys/public_key.pem cannot be read")
    assert len(explained.stderr.splitlines()) == 1


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as running:
        yield running


def publish(issuer: Issuer, *pairs: KeyPair) -> None:
    """Publish keys, and a status list that is signed with the first one."""
    uri = f"{ISSUER}/.well-known/status-list/1"
    issuer.publish(*(public_jwk(pair.private_key.public_key()) for pair in pairs))
    token = sign_list(Forger(pairs[0].private_key, pairs[0].kid), sub=uri, ttl=1, iat=time.time())
    issuer.pages = {"/lists": f'{{"status_lists": ["{uri}"]}}'.encode(), "/lists/1": token.encode()}


def environment_of(issuer: Issuer, folder: Path) -> dict[str, str]:
    return {
        "ISSUER": ISSUER,
        "JWKS_URL": issuer.url,
        "COPIES": str(folder),
        "JWKS_REFRESH": "1",
        "JWKS_COOLDOWN": "1",
        "STATUS_LISTS_URL": issuer.url.replace("/jwks.json", "/lists"),
        "COURSE_DATABASE_URL": f"sqlite:///{folder}/course.db",
    }


def test_workers_forked_during_a_slow_fetch_keep_fetching(
    issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    """A thread of the master used to hold a lock during the fork, which no worker could ever acquire."""
    publish(issuer, key_pair, other_key_pair)
    environment = environment_of(issuer, tmp_path)
    copy_home("course", tmp_path)
    removed = Forger(other_key_pair.private_key, other_key_pair.kid).sign()
    kept = Forger(key_pair.private_key, key_pair.kid).sign()
    with listen() as listener, serve("wsgi_course", listener, environment, tmp_path) as course:
        assert call(f"{course.url}/courses", removed)[0] == 200
    for copy in tmp_path.glob("*.attempt"):
        copy.unlink()
    issuer.pace = 0.004  # a second for the keys
    with listen() as listener, serve("wsgi_course", listener, environment, tmp_path) as course:
        for _ in range(3):
            old = set(course.workers())
            os.kill(course.process.pid, signal.SIGHUP)
            wait_for(lambda: len(set(course.workers()) - old) == 2 and len(course.workers()) == 3)  # noqa: B023
        assert [call(f"{course.url}/courses", removed)[0] for _ in range(20)] == [200] * 20
        issuer.pace = 0

        publish(issuer, key_pair)

        answers: list[int] = []

        def all_refuse() -> bool:
            answers.append(call(f"{course.url}/courses", removed)[0])
            return answers[-20:] == [401] * 20  # enough requests to reach both workers

        wait_for(all_refuse)
        assert [call(f"{course.url}/courses", kept)[0] for _ in range(20)] == [200] * 20


def test_master_starts_without_fetching_while_the_issuer_is_down(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.status = 500
    environment = environment_of(issuer, tmp_path)
    copy_home("course", tmp_path)
    copy_path(tmp_path, "keys", setting=issuer.url).write_text("half a k")
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    port = find_port()
    token = Forger(key_pair.private_key, key_pair.kid).sign()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}", "wsgi_course:app"],
            env=environment_for(environment),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/healthz"), 60)
        assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1, "no thread in the master"
        assert issuer.requests == []
        assert call(f"{url}/courses", token)[0] == 503
        assert call(f"{url}/readyz")[0] == 503

        publish(issuer, key_pair)

        wait_for(lambda: call(f"{url}/courses", token)[0] == 200)
        wait_for(lambda: call(f"{url}/readyz")[0] == 200)
    finally:
        process.terminate()
        process.wait(timeout=30)
