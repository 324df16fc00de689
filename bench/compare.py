"""Measure the services beside their peers, and write what came of it into docs/: run by `scripts/bench`.

Every server has one worker on the first core, and wrk has the second. A round measures each target once, in
an order of its own, so that what slows the machine slows them all; a figure is the median of the rounds, and
its spread their quartiles.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from bench.growth import measure_growth
from bench.processes import measure_argon2, measure_processes
from bench.report import write_report
from bench.servers import PEERS, ROOT, gunicorn, log_in, post, prepare, run_flask, serve, sign_in
from course_app.cli import DEMO_COURSES

ROUNDS = 7
SECONDS = 3
CALLBACK = "http://127.0.0.1:9999/callback"


@dataclass
class Target:
    """An address that is measured, and what came of it."""

    name: str
    url: str
    token: str | None = None
    script: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    connections: int = 16
    cookie: str | None = None
    rates: list[float] = field(default_factory=list)  # requests per second
    slowest: list[float] = field(default_factory=list)  # milliseconds, 99th percentile

    def measure(self, seconds: int = SECONDS) -> tuple[float, float]:
        """Run wrk once. Raises `RuntimeError` when an answer was not a success."""
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency"]
        if self.token:
            command += ["-H", f"Authorization: Bearer {self.token}"]
        if self.cookie:
            command += ["-H", f"Cookie: {self.cookie}"]
        if self.script:
            command += ["-s", str(ROOT / "bench" / self.script)]
        environment = os.environ | self.environment
        done = subprocess.run(
            [*command, self.url], env=environment, capture_output=True, text=True, check=True
        )
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise RuntimeError(f"{self.name}: {done.stdout}")
        rate = float(re.findall(r"Requests/sec: +([0-9.]+)", done.stdout)[0])
        number, unit = re.findall(r"99% +([0-9.]+)(us|ms|s)", done.stdout)[0]
        return rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


@contextmanager
def serve_all(folder: Path, environment: dict[str, str]) -> Iterator[list[Target]]:
    """Serve everything that is measured."""
    courses = [
        {"id": number, "title": title, "description": description, "capacity": None}
        for number, (title, description) in enumerate(DEMO_COURSES.items(), 1)
    ]
    (folder / "answer.json").write_text(json.dumps({"courses": courses, "next": None}))
    client = json.loads(run_flask(folder, environment, "wsgi_auth", "clients add bench --json"))
    run_flask(folder, environment, "wsgi_auth", f"clients add bench-web --public --redirect-uri {CALLBACK}")
    peers = environment | {
        "BENCH_PUBLIC_KEY": (folder / "keys/public_key.pem").read_text(),
        "BENCH_PRIVATE_KEY": (folder / "keys/private_key.pem").read_text(),
    }
    uvicorn = [*f"{PEERS} -m uvicorn --no-access-log --port 9004".split(), "bench.peers.fastapi_peer:app"]
    with ExitStack() as stack:

        def start(command: list[str], environment: dict[str, str], port: int, cores: str = "0") -> str:
            return stack.enter_context(serve(command, environment, folder, port, cores))[0]

        auth = start(gunicorn("wsgi_auth:app", 9000), environment, 9000)
        course = start(gunicorn("wsgi_course:app", 9001), environment, 9001)
        memory = start(gunicorn("bench.memory:app", 9002), environment, 9002)
        bare = start(gunicorn("bench.peers.open_flask:app", 9003), environment, 9003)
        fastapi = start(uvicorn, peers, 9004)
        documented = start(gunicorn("bench.peers.documented_flask:app", 9005), peers, 9005)
        two_cores = start(gunicorn("wsgi_auth:app", 9006, workers=2), environment, 9006, "0,1")
        token = log_in(auth)["access_token"]
        login = {"BENCH_FORM": "username=student1&password=password123"}
        refresh = {"BENCH_REFRESH_TOKENS": str(folder / "refresh_tokens")}
        grant = {"BENCH_FORM": urllib.parse.urlencode({"grant_type": "client_credentials", **client})}
        yield [
            Target("Flask without authentication", f"{bare}/memory", token),
            Target("this project", f"{memory}/memory", token),
            Target("this project, from the database", f"{course}/courses", token),
            Target("FastAPI, async def", f"{fastapi}/memory-async", token),
            Target("FastAPI, def", f"{fastapi}/memory", token),
            Target("flask-jwt-extended", f"{documented}/memory", post(f"{documented}/token")["access_token"]),
            Target("this project, refresh_token", f"{auth}/token", None, "refresh.lua", refresh),
            Target("this project, client_credentials", f"{auth}/token", None, "post.lua", grant),
            Target("this project, password", f"{auth}/token", None, "post.lua", login, 2),
            Target("this project, password, two cores", f"{two_cores}/token", None, "post.lua", login, 4),
            *sign_in_targets(auth),
            Target(
                "flask-jwt-extended, create_access_token",
                f"{documented}/token",
                None,
                "post.lua",
                {"BENCH_FORM": ""},
            ),
        ]


def sign_in_targets(auth: str) -> list[Target]:
    """Return the requests of a sign-in: the page, one for a code, and one for a code and its exchange."""
    cookie, verifier = sign_in(auth), "v" * 43
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    client = {"client_id": "bench-web", "redirect_uri": CALLBACK}
    asked = {"response_type": "code", "scope": "openid", "code_challenge_method": "S256"}
    query = urllib.parse.urlencode({**client, **asked, "code_challenge": challenge})
    form = {"grant_type": "authorization_code", "code_verifier": verifier, **client}
    exchange = {
        "BENCH_AUTHORIZE": f"/authorize?{query}",
        "BENCH_COOKIE": cookie,
        "BENCH_FORM": urllib.parse.urlencode(form),
    }
    return [
        Target("this project, sign-in page", f"{auth}/login"),
        Target("this project, code", f"{auth}/authorize?{query}", cookie=cookie),
        Target("this project, code or its exchange", f"{auth}/", None, "code.lua", exchange),
    ]


def measure_targets(targets: list[Target]) -> None:
    """Measure each target in each round."""
    for number in range(-1, ROUNDS):  # one round more, to warm up
        for target in random.sample(targets, len(targets)):
            if target.script == "refresh.lua":  # the tokens of the last run were used
                logins = [log_in(target.url.removesuffix("/token"))["refresh_token"] for _ in range(64)]
                Path(target.environment["BENCH_REFRESH_TOKENS"]).write_text("\n".join(logins))
            rate, slowest = target.measure(SECONDS if number >= 0 else 1)
            print(f"{number + 1}/{ROUNDS} {target.name:42} {rate:8.0f}/s  p99 {slowest:6.1f} ms", flush=True)
            if number >= 0:
                target.rates.append(rate)
                target.slowest.append(slowest)


def main() -> None:
    """Measure, and write the results into docs/."""
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: install it (Debian and Ubuntu: apt install wrk)")
    with tempfile.TemporaryDirectory() as name:
        environment = prepare(Path(name))
        processes = measure_processes(Path(name), environment)
        with serve_all(Path(name), environment) as targets:
            measure_targets(targets)
    rates = {target.name: (target.rates, target.slowest) for target in targets}
    write_report(rates, *measure_growth(), processes, measure_argon2())


if __name__ == "__main__":
    main()
