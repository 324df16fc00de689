"""A logout takes effect at every service, in every worker; the issuer is only polled for lists."""

import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import Server, call, copy_home, listen, serve, url_of, wait_for

STUDENT = {"username": "student1", "password": "password123"}
TTL = 2  # seconds


@dataclass
class Deployment:
    """auth_app and two services that share only its public key, with two workers each."""

    auth: Server
    services: list[Server]
    folder: Path

    def log_in(self) -> dict[str, str]:
        status, answer = call(f"{self.auth.url}/token", form=STUDENT)
        assert status == 200
        return answer

    def use(self, token: str) -> set[int]:
        """Return the statuses of the services' responses, from enough requests to reach every worker."""
        return {call(f"{service.url}/courses", token)[0] for service in self.services for _ in range(10)}

    def requests_to_issuer(self) -> list[str]:
        """Return the paths of the requests in auth_app's access log."""
        return re.findall(r" [A-Z]+ (/\S*) \d{3} ", self.auth.log.read_text())


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    folder = tmp_path
    with ExitStack() as stack:
        listeners = [stack.enter_context(listen()) for _ in range(3)]
        issuer, *resources = map(url_of, listeners)
        auth_environment = {
            "ISSUER": issuer,
            "RESOURCES": " ".join(resources),
            "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.db",
            "STATUS_LIST_TTL": str(TTL),
            "GUNICORN_CMD_ARGS": "--access-logfile -",
        }
        course = {
            "ISSUER": issuer,
            "COURSE_DATABASE_URL": f"sqlite:///{folder}/course.db",
            "JWT_PUBLIC_KEY_FILE": f"{folder}/keys/public_key.pem",
        }
        copy_home("auth", folder)
        copy_home("course", folder)
        auth = stack.enter_context(serve("wsgi_auth", listeners[0], auth_environment, folder))
        services = []
        for number, listener in enumerate(listeners[1:]):
            home = folder / f"service{number}"
            (home / "keys").mkdir(parents=True)
            environment = course | {"RESOURCE": resources[number]}
            services.append(stack.enter_context(serve("wsgi_course", listener, environment, home)))
        yield Deployment(auth, services, folder)


def test_revoked_session_is_refused_by_every_service_in_time(deployment: Deployment) -> None:
    answer, other = deployment.log_in(), deployment.log_in()
    assert deployment.use(answer["access_token"]) == deployment.use(other["access_token"]) == {200}

    assert call(f"{deployment.auth.url}/revoke", form={"token": answer["refresh_token"]})[0] == 200
    revoked_at = time.monotonic()
    wait_for(lambda: "/revoke" in deployment.requests_to_issuer())
    before = len(deployment.requests_to_issuer())
    wait_for(lambda: deployment.use(answer["access_token"]) == {401})

    # A list that was fetched just before is kept for its `ttl`; then the next poll follows.
    assert (
        time.monotonic() - revoked_at < TTL + TTL + 20
    )  # and what a busy machine needs; the default TTL of 30 would take longer
    assert deployment.use(other["access_token"]) == {200}
    asked = deployment.requests_to_issuer()[before:]
    assert set(asked) <= {"/.well-known/status-list", "/.well-known/status-list/1"}
    polls = (time.monotonic() - revoked_at) / TTL + 1
    assert len(asked) <= 2 * len(deployment.services) * polls, "one worker of a host polls for all"


def test_service_works_and_keeps_revocations_while_the_issuer_is_down(deployment: Deployment) -> None:
    answer, other = deployment.log_in(), deployment.log_in()
    call(f"{deployment.auth.url}/revoke", form={"token": answer["access_token"]})
    wait_for(lambda: deployment.use(answer["access_token"]) == {401})

    deployment.auth.stop()

    wait_for(lambda: call(f"{deployment.services[0].url}/readyz")[1]["status"] == "degraded")
    assert deployment.use(other["access_token"]) == {200}
    assert deployment.use(answer["access_token"]) == {401}
    with urllib.request.urlopen(f"{deployment.services[0].url}/healthz", timeout=60) as alive:
        assert alive.status == 200
