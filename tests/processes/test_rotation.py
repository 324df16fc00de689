"""Keys are rotated under load: two workers of each service, services with files and with JWKS_URL."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest

from tests.issuers import copy_path
from tests.servers import Server, call, copy_home, environment_for, listen, serve, url_of, wait_for

STUDENT = {"username": "student1", "password": "password123"}
REFRESH = 1  # seconds
MAX_AGE = 4  # seconds: as by default, verifiers fetch the key set several times before a new key may sign


@dataclass
class Trio:
    """auth_app, a course_app that fetches the key set, and one that reads the public key file."""

    auth: Server
    verifiers: list[Server]
    environment: dict[str, str]
    course_environment: dict[str, str]
    folder: Path

    def keys(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi_auth", "keys", *arguments],
            env=environment_for(self.environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def active(self) -> str:
        keys = json.loads(self.keys("list", "--json").stdout)
        kid: str = next(key["kid"] for key in keys if key["state"] == "active")
        return kid

    def log_in(self) -> str:
        status, answer = call(f"{self.auth.url}/token", form=STUDENT)
        assert status == 200, answer
        token: str = answer["access_token"]
        return token

    def use(self, token: str) -> list[int]:
        """Return the status of every service's response to a token."""
        courses = [call(f"{verifier.url}/courses", token)[0] for verifier in self.verifiers]
        return [call(f"{self.auth.url}/users/me", token)[0], *courses]


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    folder = tmp_path_factory.mktemp("trio")
    with ExitStack() as stack:
        listeners = [stack.enter_context(listen()) for _ in range(3)]
        issuer, *resources = map(url_of, listeners)
        environment = {
            "ISSUER": issuer,
            "RESOURCES": " ".join(resources),
            "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.db",
            "JWKS_MAX_AGE": str(MAX_AGE),
            "SESSIONS_PER_USER": "100000",  # one user logs in over and over, and uses the oldest tokens too
        }
        course = {
            "ISSUER": issuer,
            "COURSE_DATABASE_URL": f"sqlite:///{folder}/course.db",
            "COPIES": "keys",
        }
        mirroring = course | {
            "RESOURCE": resources[0],
            "JWKS_URL": f"{issuer}/.well-known/jwks.json",
            "JWKS_REFRESH": str(REFRESH),
            "JWKS_COOLDOWN": str(REFRESH),
        }
        copy_home("auth", folder)
        copy_home("course", folder)
        homes = [folder / name for name in ("mirroring", "following")]
        for home in homes:
            (home / "keys").mkdir(parents=True)
        following = course | {
            "RESOURCE": resources[1],
            "JWT_PUBLIC_KEY_FILE": f"{folder}/keys/public_key.pem",
        }
        auth = stack.enter_context(serve("wsgi_auth", listeners[0], environment, folder))
        verifiers = [
            stack.enter_context(serve("wsgi_course", listener, settings, home))
            for listener, settings, home in zip(listeners[1:], (mirroring, following), homes, strict=True)
        ]
        yield Trio(auth, verifiers, environment, mirroring, folder)


@dataclass
class Load:
    """Threads that log in and use new and old tokens until they are stopped."""

    trio: Trio
    tokens: list[str] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.tokens.append(self.trio.log_in())
                for token in (self.tokens[-1], self.tokens[len(self.answers) * 7 % len(self.tokens)]):
                    self.answers.append(self.trio.use(token))
        except Exception as error:
            self.failures.append(error)


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def test_no_valid_request_fails_while_keys_are_rotated_under_load(trio: Trio) -> None:
    before = trio.active()
    # Enough requests for every worker to fetch keys and lists: the first fetch may outlast a request's wait.
    wait_for(lambda: [trio.use(trio.log_in()) for _ in range(20)] == [[200] * 3] * 20)
    with Load(trio) as load:
        for _ in range(2):
            assert trio.keys("rotate").returncode == 0
            wait_for(lambda: trio.keys("rotate").returncode == 0)
            after = trio.active()
            wait_for(lambda: kid_of(load.tokens[-1]) == after)  # noqa: B023
        wait_for(lambda: len(load.tokens) > 60)

    assert load.failures == []
    bad = [answer for answer in load.answers if answer != [200] * 3]
    assert bad == [], "\n".join(verifier.log.read_text()[-3000:] for verifier in trio.verifiers)
    assert len(load.answers) > 120
    kids = [kid_of(token) for token in load.tokens]
    assert len(set(kids)) == 3
    assert {before, trio.active()} <= set(kids)
    for kid in set(kids):
        assert trio.use(load.tokens[kids.index(kid)]) == [200] * 3, "tokens of every key are still accepted"


def test_tokens_of_a_revoked_key_are_refused_by_every_service(trio: Trio) -> None:
    token = trio.log_in()
    kid = kid_of(token)
    wait_for(lambda: trio.use(token) == [200] * 3)  # another test may have just replaced the key

    assert trio.keys("revoke", kid).returncode == 0

    answers: list[list[int]] = []

    def all_refuse() -> bool:
        answers.append(trio.use(token))
        return answers[-20:] == [[401] * 3] * 20  # enough requests to reach both workers of each

    wait_for(all_refuse)
    assert all(answer[0] == answer[2] == 401 for answer in answers), (
        "a service that reads the file refuses at once"
    )
    successor = trio.log_in()
    assert kid_of(successor) != kid
    wait_for(lambda: trio.use(successor) == [200] * 3)
    assert [trio.use(successor) for _ in range(20)] == [[200] * 3] * 20


def test_verifier_works_while_the_issuer_hangs_and_catches_up_afterwards(trio: Trio) -> None:
    token = trio.log_in()
    verifier = trio.verifiers[0]
    processes = trio.auth.workers()
    wait_for(lambda: trio.use(token) == [200] * 3)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        wait_for(lambda: "keys" in call(f"{verifier.url}/readyz")[1].get("degraded", []))
        assert [call(f"{verifier.url}/courses", token)[0] for _ in range(20)] == [200] * 20
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)

    wait_for(lambda: call(f"{verifier.url}/readyz")[1]["status"] == "ok")
    assert trio.keys("revoke", kid_of(token)).returncode == 0
    wait_for(lambda: call(f"{verifier.url}/courses", token)[0] == 401)
    log = verifier.log.read_text()
    assert "cannot fetch" in log
    assert f"fetched {trio.course_environment['JWKS_URL']} again" in log


def test_verifier_starts_from_its_copy_with_the_issuer_down(trio: Trio, tmp_path: Path) -> None:
    token = trio.log_in()
    wait_for(lambda: trio.use(token) == [200] * 3)
    shutil.copytree(trio.folder / "mirroring/keys", tmp_path / "keys")
    with listen() as listener, listen() as unused:
        url = f"{url_of(unused)}/jwks.json"
        environment = trio.course_environment | {"JWKS_URL": url}
        unused.close()
        # Each source has its own copy: rename them as if they came from this source.
        issuer, before = trio.environment["ISSUER"], trio.course_environment["JWKS_URL"]
        old, new = (copy_path(tmp_path, "keys", issuer, source).name[:-10] for source in (before, url))
        for copy in list((tmp_path / "keys").iterdir()):
            copy.rename(copy.with_name(copy.name.replace(old, new)))
        with serve("wsgi_course", listener, environment, tmp_path) as verifier:
            assert [call(f"{verifier.url}/courses", token)[0] for _ in range(20)] == [200] * 20
            assert call(f"{verifier.url}/courses", token + "x")[0] == 401
