"""Measure auth_app on PostgreSQL with 1, 2 and 4 processes: `python -m bench.scaling [seconds]`.

Servers, database and wrk share all cores; the CPU time of each shows which of them is the limit.
"""

import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.servers import ROOT, gunicorn, log_in, prepare, run_flask, serve, sign_in
from bench.usage import meter
from tests.databases import serve_postgresql

ROUNDS = 3
PROCESSES = (1, 2, 4)
PORT = 9720
CALLBACK = "http://127.0.0.1:9999/callback"
HEAD = (
    "",
    "processes",
    "per second",
    "p99 in ms",
    "cores in use: auth_app",
    "PostgreSQL",
    "wrk",
    "CPU of each in ms: auth_app",
    "PostgreSQL",
    "wrk",
)
ALL_CORES = ",".join(map(str, range(os.cpu_count() or 1)))


class Load(NamedTuple):
    """The requests that wrk sends, and its connections for each process; a `share` of the requests counts."""

    script: str
    environment: dict[str, str]
    connections: int
    share: float = 1


class Found(NamedTuple):
    """The result of a run: counted requests per second, 99th percentile, and CPU seconds per second."""

    rate: float
    p99: float  # milliseconds
    auth_app: float
    postgresql: float
    wrk: float


def make_loads(url: str, folder: Path) -> dict[str, Load]:
    """Return the three loads. A code takes two requests: one to get it and one to exchange it."""
    verifier, client = "v" * 43, {"client_id": "bench-web", "redirect_uri": CALLBACK}
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {"response_type": "code", "scope": "openid", "code_challenge_method": "S256"}
    query = urllib.parse.urlencode({**client, **asked, "code_challenge": challenge})
    form = {"grant_type": "authorization_code", "code_verifier": verifier, **client}
    exchange = {
        "BENCH_AUTHORIZE": f"/authorize?{query}",
        "BENCH_COOKIE": sign_in(url),
        "BENCH_FORM": urllib.parse.urlencode(form),
    }
    refresh = folder / "refresh_tokens"
    return {
        "login": Load("post.lua", {"BENCH_FORM": "username=student1&password=password123"}, 2),
        "refresh": Load("refresh.lua", {"BENCH_REFRESH_TOKENS": str(refresh)}, 8),
        "code and its exchange": Load("code.lua", exchange, 4, 0.5),
    }


def run(load: Load, url: str, processes: int, seconds: int, pids: tuple[int, int]) -> Found:
    """Run wrk once. Raises `RuntimeError` if a response was not a success."""
    if "BENCH_REFRESH_TOKENS" in load.environment:  # the last run has used the others
        tokens = [log_in(url)["refresh_token"] for _ in range(4 * load.connections * processes)]
        Path(load.environment["BENCH_REFRESH_TOKENS"]).write_text("\n".join(tokens))
    command = [
        "wrk",
        "-t1",
        f"-c{load.connections * processes}",
        f"-d{seconds}s",
        "--latency",
        "--timeout=10s",
    ]
    command += ["-s", str(ROOT / "bench" / load.script), f"{url}/token"]
    used, own = meter(*pids), os.times()
    done = subprocess.run(
        command, env=os.environ | load.environment, capture_output=True, text=True, check=True
    )
    auth_app, postgresql = used()
    ended = os.times()
    wrk = ended.children_user + ended.children_system - own.children_user - own.children_system
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    rate = float(re.findall(r"Requests/sec: +([0-9.]+)", done.stdout)[0]) * load.share
    number, unit = re.findall(r"99% +([0-9.]+)(us|ms|s)", done.stdout)[0]
    p99 = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return Found(rate, p99, auth_app / seconds, postgresql / seconds, wrk / seconds)


def describe(found: list[Found]) -> str:
    """Return the medians of the rounds, and the CPU time of each counted request."""
    rate, p99, *shares = (median(values) for values in zip(*found, strict=True))
    rates = sorted(one.rate for one in found)
    costs = [median(1000 * one[number] / one.rate for one in found) for number in (2, 3, 4)]
    cells = [f"{rate:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})", f"{p99:,.0f}"]
    cells += [f"{share:.2f}" for share in shares] + [f"{cost:.2f}" for cost in costs]
    return " | ".join(cells)


def main() -> None:
    """Measure, and print a table."""
    seconds = int(sys.argv[1]) if sys.argv[1:] else 6
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    with tempfile.TemporaryDirectory() as name, serve_postgresql() as server:
        folder = Path(name)
        server.psql("CREATE DATABASE scaling")
        environment = prepare(folder) | {
            "ISSUER": f"http://127.0.0.1:{PORT}",
            "AUTH_DATABASE_URL": str(server.get_uri(database="scaling")),
            "SESSIONS_PER_USER": "1000000",
        }
        for command in (
            "db upgrade",
            "demo-data",
            f"clients add bench-web --public --redirect-uri {CALLBACK}",
        ):
            run_flask(folder, environment, "wsgi_auth", command)
        for processes in PROCESSES:
            command_line = gunicorn("wsgi_auth:app", PORT, workers=processes)
            with serve(command_line, environment, folder, PORT, ALL_CORES) as (url, pid):
                pids = pid, server.get_pid() or 0
                for title, load in make_loads(url, folder).items():
                    run(load, url, processes, 1, pids)  # to warm up
                    found = [run(load, url, processes, seconds, pids) for _ in range(ROUNDS)]
                    print(f"| {title} | {processes} | {describe(found)} |", flush=True)


if __name__ == "__main__":
    main()
