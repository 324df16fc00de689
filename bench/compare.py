"""Measure the services beside their peers, and write what came of it into docs/: run by `scripts/bench`.

Every server has one worker on the first core, and wrk has the second. A round measures each target once, in
an order of its own, so that what slows the machine slows them all; a figure is the median of the rounds, and
its spread their quartiles.
"""

import json
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from course_app.cli import DEMO_COURSES

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench/bin/python"
ROUNDS = 7
SECONDS = 4
CONNECTIONS = 16
AUDIENCE = "http://127.0.0.1:8082"


@dataclass
class Target:
    """An address that is measured, and what came of it."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    script: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)  # requests per second
    slowest: list[float] = field(default_factory=list)  # milliseconds, 99th percentile

    def measure(self, seconds: int = SECONDS) -> tuple[float, float]:
        """Run wrk once. Raises `RuntimeError` when an answer was not a success."""
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        if self.script:
            command += ["-s", str(ROOT / "bench" / self.script)]
        done = subprocess.run(
            [*command, self.url],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise RuntimeError(f"{self.name}: {done.stdout}")
        rate = float(re.findall(r"Requests/sec: +([0-9.]+)", done.stdout)[0])
        number, unit = re.findall(r"99% +([0-9.]+)(us|ms|s)", done.stdout)[0]
        return rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


@contextmanager
def serve(command: list[str], environment: dict[str, str], folder: Path, port: int) -> Iterator[str]:
    """Run a server on the first core until the block ends, and yield its URL."""
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def gunicorn(application: str, port: int, workers: int = 1) -> list[str]:
    """Return the command that serves an application of this environment with our configuration."""
    config = ["--config", str(ROOT / "gunicorn.conf.py"), "--workers", str(workers), "--log-level", "warning"]
    return [sys.executable, "-m", "gunicorn", *config, "--bind", f"127.0.0.1:{port}", application]


def post(url: str, **form: str) -> dict[str, Any]:
    """Return the answer to a form."""
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


@contextmanager
def serve_all(folder: Path) -> Iterator[list[Target]]:
    """Serve everything that is measured, from keys and databases in a folder that is thrown away."""
    (folder / "keys").mkdir()
    environment = {
        "RESOURCE": AUDIENCE,
        "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.db",
        "COURSE_DATABASE_URL": f"sqlite:///{folder}/course.db",
    }
    for application, command in (
        ("wsgi_auth", "keys generate"),
        ("wsgi_auth", "db upgrade"),
        ("wsgi_auth", "demo-data"),
        ("wsgi_course", "db upgrade"),
        ("wsgi_course", "demo-data"),
    ):
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", application, *command.split()],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
            cwd=folder,
            check=True,
            capture_output=True,
        )
    courses = [
        {"id": number, "title": title, "description": description, "capacity": None}
        for number, (title, description) in enumerate(DEMO_COURSES.items(), 1)
    ]
    (folder / "answer.json").write_text(json.dumps({"courses": courses, "next": None}))
    peers = environment | {
        "BENCH_PUBLIC_KEY": (folder / "keys/public_key.pem").read_text(),
        "BENCH_PRIVATE_KEY": (folder / "keys/private_key.pem").read_text(),
    }
    uvicorn = [
        str(PEERS),
        "-m",
        "uvicorn",
        "--no-access-log",
        "--port",
        "9004",
        "bench.peers.fastapi_peer:app",
    ]
    with ExitStack() as stack:
        enter = stack.enter_context
        auth = enter(serve(gunicorn("wsgi_auth:app", 9000), environment, folder, 9000))
        course = enter(serve(gunicorn("wsgi_course:app", 9001), environment, folder, 9001))
        memory = enter(serve(gunicorn("bench.memory:app", 9002), environment, folder, 9002))
        bare = enter(serve(gunicorn("bench.peers.open_flask:app", 9003), environment, folder, 9003))
        fastapi = enter(serve(uvicorn, peers, folder, 9004))
        documented = enter(serve(gunicorn("bench.peers.documented_flask:app", 9005), peers, folder, 9005))
        logins = [post(f"{auth}/token", username="student1", password="password123") for _ in range(64)]  # noqa: S106
        token = {"Authorization": f"Bearer {logins[0]['access_token']}"}
        other = {"Authorization": f"Bearer {post(f'{documented}/token')['access_token']}"}
        tokens = folder / "refresh_tokens"
        tokens.write_text("\n".join(login["refresh_token"] for login in logins))
        secret = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi_auth", "clients", "add", "bench", "--json"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
            cwd=folder,
            check=True,
            capture_output=True,
        ).stdout
        client = json.loads(secret)
        form = urllib.parse.urlencode({"grant_type": "client_credentials", **client})
        yield [
            Target("Flask without authentication", f"{bare}/memory", token),
            Target("this project", f"{memory}/memory", token),
            Target("this project, from the database", f"{course}/courses", token),
            Target("FastAPI, async def", f"{fastapi}/memory-async", token),
            Target("FastAPI, def", f"{fastapi}/memory", token),
            Target("flask-jwt-extended", f"{documented}/memory", other),
            Target(
                "this project, refresh_token",
                f"{auth}/token",
                script="refresh.lua",
                environment={"BENCH_REFRESH_TOKENS": str(tokens)},
            ),
            Target(
                "this project, client_credentials",
                f"{auth}/token",
                script="post.lua",
                environment={"BENCH_FORM": form},
            ),
            Target(
                "flask-jwt-extended, create_access_token",
                f"{documented}/token",
                script="post.lua",
                environment={"BENCH_FORM": ""},
            ),
        ]


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on."""
    names = ("flask", "flask-jwt-extended", "pyjwt", "cryptography", "gunicorn", "sqlalchemy")
    peers = subprocess.run(
        [str(PEERS), "-c", "import fastapi, uvicorn; print(fastapi.__version__, uvicorn.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "fastapi": peers[0],
        "uvicorn": peers[1],
    }


def main() -> None:
    """Measure, and write the results into docs/."""
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: install it (Debian and Ubuntu: apt install wrk)")
    with tempfile.TemporaryDirectory() as name, serve_all(Path(name)) as targets:
        for target in targets:
            target.measure(1)
        for number in range(ROUNDS):
            for target in random.sample(targets, len(targets)):
                # Refresh tokens are used up: this one goes on from its own answers only within a run.
                if target.script == "refresh.lua":
                    renew_refresh_tokens(target)
                rate, slowest = target.measure()
                target.rates.append(rate)
                target.slowest.append(slowest)
                print(
                    f"{number + 1}/{ROUNDS} {target.name:42} {rate:8.0f}/s  p99 {slowest:6.1f} ms", flush=True
                )
    results = [
        {
            "target": target.name,
            "requests_per_second": round(median(target.rates), 1),
            "quartiles": [round(value, 1) for value in quantiles(target.rates, n=4)[::2]],
            "p99_milliseconds": round(median(target.slowest), 2),
        }
        for target in targets
    ]
    document = {"machine": describe_machine(), "results": results}
    (ROOT / "docs/performance.json").write_text(json.dumps(document, indent=2) + "\n")
    (ROOT / "docs/performance.svg").write_text(draw(targets))


def draw(targets: list[Target]) -> str:
    """Return a plot: a bar for each target's median, and a line from its slowest to its fastest round."""
    widest = max(max(target.rates) for target in targets)
    rows = []
    for number, target in enumerate(targets):
        y, scale = 24 + number * 28, 340 / widest
        rate, low, high = median(target.rates), min(target.rates), max(target.rates)
        colour = "#2b6cb0" if target.name.startswith("this project") else "#a0aec0"
        rows += [
            f'<text x="272" y="{y + 14}" text-anchor="end">{target.name}</text>',
            f'<rect x="280" y="{y}" width="{rate * scale:.1f}" height="20" fill="{colour}"/>',
            f'<path d="M{280 + low * scale:.1f} {y + 10}H{280 + high * scale:.1f}" stroke="#1a202c"/>',
            f'<text x="{288 + high * scale:.1f}" y="{y + 14}">{rate:.0f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {40 + len(targets) * 28}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="280" y="16">requests per second: median, slowest and fastest round</text>'
        f"{''.join(rows)}</svg>\n"
    )


def renew_refresh_tokens(target: Target) -> None:
    """Log in again: the tokens of the last run were used."""
    logins = [post(target.url, username="student1", password="password123") for _ in range(64)]  # noqa: S106
    Path(target.environment["BENCH_REFRESH_TOKENS"]).write_text("\n".join(x["refresh_token"] for x in logins))


if __name__ == "__main__":
    main()
