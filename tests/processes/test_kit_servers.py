"""The kit under common WSGI servers: keys and revocations reach workers that were forked."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flask_resource_server.tokens.keys import public_jwk
from tests.conftest import KeyPair
from tests.forger import COURSES, Forger
from tests.issuers import Issuer, serve_issuer
from tests.servers import PATIENCE, ROOT, environment_for, find_port, wait_for
from tests.unit.test_status_list import pack
from tests.unit.test_status_list import sign as sign_list

# A third-party service, configured with the URL of its issuer and its own. It verifies the token in WARM
# when it is loaded: if that is before the fork, the parent has keys, and a thread that renews them.
SERVICE = """
import os
from flask import Flask
from flask_resource_server import ResourceServer, require_scope

app = Flask(__name__)
app.config.from_prefixed_env()
ResourceServer(app)

@app.get("/")
@require_scope("courses:read")
def show():
    return "good"

@app.after_request
def name_worker(response):
    response.headers["Worker"] = str(os.getpid())
    return response

if token := os.environ.get("WARM"):
    assert app.test_client().get("/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
"""

BIN = Path(sys.executable).parent
GUNICORN = "{bin}/gunicorn --workers 2 --bind 127.0.0.1:{port} service:app"
# uWSGI 2.0.30 and later enable threads in any case. Before (seen with 2.0.26), a worker without this option
# runs no Python thread between two requests: nothing is fetched while it is idle, and for several requests
# after that a removed key or a revoked token is still accepted.
UWSGI = "{bin}/uwsgi --http-socket 127.0.0.1:{port} --master --processes 2 --die-on-term --module service:app"
SERVERS = {
    "gunicorn": GUNICORN,
    "gunicorn --preload": f"{GUNICORN} --preload",
    "gunicorn threads": f"{GUNICORN} --threads 4",
    "gunicorn gevent": f"{GUNICORN} --worker-class gevent",
    "waitress": "{bin}/waitress-serve --listen=127.0.0.1:{port} service:app",
    "uWSGI": f"{UWSGI} --enable-threads",
    "uWSGI --lazy-apps": f"{UWSGI} --enable-threads --lazy-apps",
    "granian": "{bin}/granian --interface wsgi --workers 2 --port {port} service:app",
    "flask run --debug": "{bin}/flask --app service run --debug --port {port}",
}
LOADS_BEFORE_IT_FORKS = {"gunicorn --preload", "uWSGI"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as running:
        running.missing = 404
        yield running


def origin(issuer: Issuer) -> str:
    return issuer.url.rpartition("/")[0]


def publish(issuer: Issuer, *pairs: KeyPair, revoked: int | None = None) -> None:
    """Publish metadata, keys and a status list, signed with the first key; `revoked` is a revoked index."""
    url = origin(issuer)
    uri, bits = f"{url}/lists/1", bytearray(8)
    if revoked is not None:
        bits[revoked >> 3] |= 1 << (revoked & 7)
    signer = Forger(pairs[0].private_key, pairs[0].kid)
    packed = {"bits": 1, "lst": pack(bytes(bits))}
    issuer.pages = {
        "/.well-known/oauth-authorization-server": json.dumps(
            {"issuer": url, "jwks_uri": f"{url}/keys", "status_list_aggregation_endpoint": f"{url}/lists"}
        ).encode(),
        "/keys": json.dumps(
            {"keys": [public_jwk(pair.private_key.public_key()) | {"kid": pair.kid} for pair in pairs]}
        ).encode(),
        "/lists": json.dumps({"status_lists": [uri]}).encode(),
        "/lists/1": sign_list(signer, sub=uri, ttl=1, iat=time.time(), status_list=packed).encode(),
    }


def forge(issuer: Issuer, pair: KeyPair, index: int) -> str:
    """Return a token whose status is at an index of the issuer's list."""
    reference = {"status_list": {"idx": index, "uri": f"{origin(issuer)}/lists/1"}}
    return Forger(pair.private_key, pair.kid, issuer=origin(issuer)).sign(status=reference)


@contextmanager
def serve_by(command: str, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Run a command that serves the service until the block ends, and yield its URL."""
    (folder / "service.py").write_text(SERVICE)
    port = find_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command.format(bin=BIN, port=port).split(),
            env=environment_for(environment | {"PYTHONPATH": f"{folder}:{ROOT}"}),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that killing the process group ends only this server
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: answers(url) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)


def ask(url: str, token: str | None = None) -> tuple[int, str]:
    """Return the status of a response, and the worker that sent it."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.headers["Worker"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Worker"]


def answers(url: str) -> bool:
    with suppress(OSError):
        ask(url)
        return True
    return False


def environment_of(issuer: Issuer) -> dict[str, str]:
    return {
        "FLASK_OAUTH_ISSUER": origin(issuer),
        "FLASK_OAUTH_RESOURCE": COURSES,
        "FLASK_OAUTH_JWKS_REFRESH": "1",
        "FLASK_OAUTH_JWKS_COOLDOWN": "1",
    }


def wait_until_refused(url: str, token: str, workers: set[str]) -> None:
    """Wait until every worker that accepted a token refuses it, repeatedly."""
    last: list[tuple[int, str]] = []

    def all_refuse() -> bool:
        last.append(ask(url, token))
        newest = last[-20:]
        return {status for status, _ in newest} == {401} and workers <= {worker for _, worker in newest}

    wait_for(all_refuse)


@pytest.mark.parametrize("name", SERVERS)
def test_key_changes_and_revocations_reach_every_worker(
    name: str, issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, key_pair, other_key_pair)
    kept, revoked = forge(issuer, key_pair, 4), forge(issuer, key_pair, 5)
    removed = forge(issuer, other_key_pair, 6)
    environment = environment_of(issuer)
    if name in LOADS_BEFORE_IT_FORKS:
        environment["WARM"] = kept

    with serve_by(SERVERS[name], environment, tmp_path) as url:
        assert ask(url)[0] == 401
        accepted = [ask(url, token) for _ in range(10) for token in (kept, revoked, removed)]
        assert {status for status, _ in accepted} == {200}, (tmp_path / "log").read_text()

        publish(issuer, key_pair, revoked=5)

        workers = {worker for _, worker in accepted}
        wait_until_refused(url, removed, workers)
        wait_until_refused(url, revoked, workers)
        assert {ask(url, kept)[0] for _ in range(20)} == {200}
    assert "Traceback" not in (tmp_path / "log").read_text()
