"""Measure 10,000 hosts that poll auth_app's keys and status lists: `python -m bench.polling [scenario ...]`.

auth_app has two workers and SQLite, and handles logins at the same time. The hosts (bench/hosts.py) share the
cores with it. They speak plain HTTP to nginx, except in the scenario with TLS, because TLS handshakes cost
the simulated hosts more than they cost nginx.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cryptography import x509

from bench.logins import Logins
from bench.servers import ROOT, gunicorn, prepare, serve
from bench.usage import meter
from tests.certificates import make_certificate
from tests.nginx import NGINX

SECONDS = 60  # in which each host fetches its keys once and the lists twice
NAME = "auth.example.com"
AUTH = "http://127.0.0.1:9710"

HEAD = (
    "",
    "fetches in a second",
    "in the busiest",
    "answered",
    "of these 304",
    "p50, p99 in ms",
    "CPU of an answer in ms",
    "logins before: p50, p99 in ms",
    "during",
)


@dataclass(frozen=True)
class Scenario:
    """How the hosts behave, and which server they poll."""

    nginx: str = ""  # "plain" without a cache; "cache" as deployed; "tls" as deployed, with handshakes
    hosts: int = 10_000
    together: bool = False  # all hosts start within a second, otherwise at random times
    cold: bool = False  # the hosts have no copies yet
    jitter: float = 0.2  # the maximum share of an interval by which a pause is randomly shortened
    revoking: bool = False  # each login is revoked, so that the list changes four times a second
    seconds: int = SECONDS


SCENARIOS = {
    "direct, 10,000 hosts": Scenario(),
    "direct, 1,000 hosts": Scenario(hosts=1000),
    "direct, 1,000 hosts, a revocation with each login": Scenario(hosts=1000, revoking=True),
    "direct, 1,000 hosts started together, no jitter": Scenario(hosts=1000, together=True, jitter=0),
    "direct, 1,000 hosts started together": Scenario(hosts=1000, together=True, seconds=180),
    "direct, 1,000 hosts started together with nothing": Scenario(hosts=1000, together=True, cold=True),
    "nginx without a cache, 10,000 hosts": Scenario("plain"),
    "nginx without a cache, 1,000 hosts": Scenario("plain", 1000),
    "nginx with a cache, 10,000 hosts": Scenario("cache"),
    "nginx with a cache, 10,000 hosts, a revocation with each login": Scenario("cache", revoking=True),
    "nginx with a cache, 1,000 hosts started together": Scenario("cache", 1000, together=True),
    "nginx with a cache, 1,000 hosts started together with nothing": Scenario(
        "cache", 1000, together=True, cold=True
    ),
    "nginx with a cache and TLS, 1,000 hosts": Scenario("tls", 1000),
}


@contextmanager
def serve_scenario(
    scenario: Scenario, folder: Path, environment: dict[str, str]
) -> Iterator[tuple[str, list[int]]]:
    """Serve auth_app, behind nginx if the scenario asks for it; yield the URL, and the process IDs."""
    with ExitStack() as stack:
        proxies = {"TRUSTED_PROXIES": "1"} if scenario.nginx else {}
        command = gunicorn("wsgi_auth:app", 9710, workers=2)
        auth = stack.enter_context(serve(command, environment | proxies, folder, 9710, "0,1"))
        if not scenario.nginx:
            yield auth[0], [auth[1]]
            return
        (folder / "nginx.conf").write_text(configure_nginx(scenario.nginx, folder))
        command = [str(NGINX), "-c", f"{folder}/nginx.conf", "-p", str(folder), "-g", "daemon off;"]
        _, nginx = stack.enter_context(serve(command, environment, folder, 9718, "0,1"))
        scheme = "https" if scenario.nginx == "tls" else "http"
        yield f"{scheme}://127.0.0.1:9718", [auth[1], nginx]


def configure_nginx(kind: str, folder: Path) -> str:
    """Return deploy/nginx.conf for this machine, without its cache for a "plain" one."""
    make_certificate(folder, x509.DNSName(NAME))
    changes = {
        "auth:8081": "127.0.0.1:9710",
        "course:8082": "127.0.0.1:9710",
        "listen 443 ssl": f"listen 127.0.0.1:9718{' ssl' if kind == 'tls' else ''}",
        "/etc/nginx/tls": str(folder),
        "/tmp/nginx": f"{folder}/nginx",  # noqa: S108
    }
    if kind == "plain":
        changes["proxy_cache documents;"] = ""
    configuration = (ROOT / "deploy/nginx.conf").read_text()
    for old, new in changes.items():
        configuration = configuration.replace(old, new)
    return configuration


def measure(scenario: Scenario, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return the results of a scenario, with the times of logins before it and during it."""
    with serve_scenario(scenario, folder, environment) as (url, pids):
        login_url = AUTH if scenario.nginx == "tls" else url
        used, before = meter(*pids), Logins(login_url, revoking=False)
        before.start()
        time.sleep(10)
        quiet = before.stop()
        of_a_login = [seconds / len(quiet[0]) for seconds in used()]
        task = scenario.__dict__ | {"url": url, "name": NAME if scenario.nginx else None}
        task["trust"] = f"{folder}/certificate.pem"
        used, during = meter(*pids), Logins(login_url, revoking=scenario.revoking)
        during.start()
        done = subprocess.run(
            [sys.executable, "-m", "bench.hosts"], input=json.dumps(task), text=True, stdout=-1, check=True
        )
        busy = during.stop()
        cpu = [all_of_it - one * len(busy[0]) for all_of_it, one in zip(used(), of_a_login, strict=True)]
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"before": quiet, "during": busy, "cpu": cpu}


def describe(scenario: Scenario, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    asked, statuses = sum(found["started"].values()), found["statuses"]
    good = statuses.get("200", 0) + statuses.get("304", 0)
    cells = [
        f"{asked / scenario.seconds:,.0f}",
        f"{max(found['started'].values()):,}",
        f"{100 * good / asked:.2f} %",
        f"{100 * statuses.get('304', 0) / max(1, good):.0f} %",
        spread(found["milliseconds"]),
        " + ".join(f"{1000 * used / max(1, good):.2f}" for used in found["cpu"]),
        spread(found["before"][0]),
        spread(found["during"][0]),
    ]
    return " | ".join(cells)


def spread(milliseconds: list[float]) -> str:
    """Return the median and the 99th percentile."""
    return f"{median(milliseconds):.0f}, {quantiles(milliseconds, n=100)[98]:.0f}"


def main() -> None:
    """Measure the given scenarios, or all, and print a table."""
    names = sys.argv[1:] or list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        sys.exit(f"no such scenario: {unknown.pop()}. There are:\n" + "\n".join(SCENARIOS))
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers run as another user when we are root
        environment = prepare(folder) | {"ISSUER": AUTH, "SESSIONS_PER_USER": "1000000"}
        for title in names:
            found = measure(SCENARIOS[title], folder, environment)
            print(f"| {title} | {describe(SCENARIOS[title], found)} |", flush=True)
            late, errors = spread(found["late"]), {**found["statuses"], "login": found["during"][1]}
            # If the hosts are more than some ms late, the simulation is the bottleneck, not the server.
            print(f"{title}: {errors}, hosts late by ms {late}, {found['completed']}", file=sys.stderr)


if __name__ == "__main__":
    main()
