"""The job gets a token of its own, renews it, and exits when it is refused."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications import register_client
from tests.examples.programs import EXAMPLES
from tests.secrets import find_secrets
from tests.servers import PATIENCE, Pair, environment_for, serve_pair, wait_for

LEEWAY = 5  # seconds before its expiry at which the job renews its token
LIFETIME = LEEWAY + 2


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both services, with tokens that the job has to renew after two seconds."""
    settings = {"ACCESS_TOKEN_LIFETIME": str(LIFETIME)}
    with serve_pair(tmp_path_factory.mktemp("brief"), auth_settings=settings) as pair:
        yield pair


def register(pair: Pair, client_id: str, *options: str) -> dict[str, str]:
    """Register a client and return the settings of its job."""
    secret = register_client(pair, client_id, *options)
    assert secret
    return {
        "OAUTH_ISSUER": pair.auth.url,
        "SERVICE_URL": pair.course.url,
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": secret,
    }


def start_job(settings: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / "job/job.py"), "0.1"],
            env=environment_for(settings),
            stdout=output,
            stderr=output,
        )


def count_tokens(pair: Pair, client_id: str) -> int:
    events = [json.loads(line) for line in pair.auth.log.read_text().splitlines() if line.startswith("{")]
    return len([e for e in events if e.get("event") == "client_token_issued" and e["client"] == client_id])


def test_job_renews_its_token_only_when_it_expires(brief: Pair, tmp_path: Path) -> None:
    settings = register(brief, "watch", "--scope courses:read --resource", brief.course.url)
    log = tmp_path / "log"
    started = time.monotonic()
    job = start_job(settings, log)
    try:
        wait_for(lambda: count_tokens(brief, "watch") >= 3 or job.poll() is not None)
    finally:
        job.terminate()
        job.wait(PATIENCE)
    took, lines = time.monotonic() - started, log.read_text().splitlines()

    assert set(lines) == {lines[0]}, lines
    assert lines[0].endswith(" courses")
    assert len(lines) > count_tokens(brief, "watch")
    assert took > 2 * (LIFETIME - LEEWAY - 1), "expiry has the resolution of a second"
    assert find_secrets(log.read_text()) == []


REFUSED = {
    "wrong secret": ("--scope courses:read", {"CLIENT_SECRET": "wrong"}, "invalid_client"),
    "scope that the client lacks": ("--scope enrolments:write", {}, "invalid_scope"),
    "token for another service": ("--scope courses:read --resource {issuer}", {}, "401 Client Error"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_job_exits_when_it_is_refused(row: str, brief: Pair, tmp_path: Path) -> None:
    options, changes, error = REFUSED[row]
    settings = register(brief, row.replace(" ", "-"), options.format(issuer=brief.auth.url)) | changes
    job = start_job(settings, tmp_path / "log")
    try:
        assert job.wait(PATIENCE) == 1
    finally:
        job.kill()

    assert error in (tmp_path / "log").read_text().splitlines()[-1]
