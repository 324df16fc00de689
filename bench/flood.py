"""Measure how 100,000 forged tokens a minute affect good requests: `python -m bench.flood [cost|flood]`.

course_app has one worker on the first core; the senders use the second. `cost` prints the CPU time of a
request for each kind of token, in this process and under gunicorn. `flood` sends all kinds beside good
traffic.
"""

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from statistics import median, quantiles
from typing import Any

from flask import Flask
from flask_jwt_extended import jwt_required

from bench.forged import KNOWN, NEW, make_tokens
from bench.servers import gunicorn, log_in, prepare, serve
from bench.usage import children, meter
from flask_resource_server import require_scope

FORGED, GOOD = 100_000 / 60, 100  # requests per second
COUNT = 3000  # tokens of each kind
AUTH_PORT, COURSE_PORT = 9730, 9731
ISSUER = f"http://127.0.0.1:{AUTH_PORT}"
NOTHING: dict[str, Any] = {"statuses": {}, "seconds": 1.0}  # the result if there is no stream
JWKS = {"JWKS_URL": f"{ISSUER}/.well-known/jwks.json"}


@contextmanager
def serve_both(folder: Path, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Serve auth_app with its access log, and course_app with some settings; yield both process IDs."""
    environment = os.environ | settings
    with ExitStack() as stack:
        auth = [*gunicorn("wsgi_auth:app", AUTH_PORT), "--access-logfile", "-"]
        _, auth_pid = stack.enter_context(serve(auth, environment, folder, AUTH_PORT, "1"))
        course = gunicorn("wsgi_course:app", COURSE_PORT)
        url, course_pid = stack.enter_context(serve(course, environment, folder, COURSE_PORT, "0"))
        urllib.request.urlopen(f"{url}/readyz").close()  # noqa: S310  # keys and lists have been fetched
        yield auth_pid, course_pid


def start_stream(folder: Path, name: str, tokens: list[str], rate: float, seconds: float) -> Any:
    """Start a process on the second core that sends tokens at a steady rate."""
    file = folder / f"{name}.tokens"
    file.write_text("\n".join(tokens))
    task = {"port": COURSE_PORT, "path": "/courses", "connections": 16 if rate > GOOD else 4}
    task |= {"tokens": str(file), "rate": rate, "seconds": seconds}
    command = ["taskset", "-c", "1", sys.executable, "-m", "bench.stream"]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=os.environ["PYTHONPATH"])
    assert process.stdin
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    return process


def finish(stream: Any) -> dict[str, Any]:
    """Wait for the end of a stream, and return its result."""
    found: dict[str, Any] = json.load(stream.stdout)
    stream.wait()
    return found


def cost_in_process(kinds: dict[str, list[str]]) -> dict[str, list[float]]:
    """Return the CPU microseconds of a request of each kind without a server.

    The first figure is for a view without a database, the second for `/courses`.
    """
    from course_app import create_app

    app = create_app()
    view = jwt_required()(require_scope("courses:read")(lambda: {"status": "good"}))
    app.add_url_rule("/memory", view_func=view)
    paths = ("/memory", "/courses")
    times: dict[tuple[str, str], list[float]] = {(kind, path): [] for kind in kinds for path in paths}
    for number in range(6):
        for kind, path in random.sample(list(times), len(times)):
            tokens = kinds[kind][number * 500 : (number + 1) * 500]
            first = min(len(tokens), 250 * paths.index(path))  # use each token only once
            started = time.process_time()
            for token in tokens[first : first + 250]:
                call(app, path, token)
            times[kind, path].append((time.process_time() - started) * 1e6 / 250)
    return {kind: [median(times[kind, path][1:]) for path in paths] for kind in kinds}


def call(app: Flask, path: str, token: str) -> None:
    """Send a request to an application in this process."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
    }
    b"".join(app(environ, lambda *_: lambda _: None))


def cost_served(folder: Path, kinds: dict[str, list[str]], pid: int) -> dict[str, tuple[float, str]]:
    """Return the CPU microseconds of a request of each kind under gunicorn, and the statuses."""
    found = {}
    for kind, tokens in kinds.items():
        used = meter(pid)
        answer = finish(start_stream(folder, "kind", tokens, 400, 5))
        statuses = answer["statuses"]
        found[kind] = used()[0] * 1e6 / sum(statuses.values()), "+".join(statuses)
    return found


def show_costs(folder: Path, kinds: dict[str, list[str]], in_process: dict[str, list[float]]) -> None:
    """Print the cost of each kind, with keys from a file and with fetched ones."""
    columns = []
    for settings in ({}, JWKS):
        with serve_both(folder, settings) as (_, course):
            columns.append(cost_served(folder, kinds, course))
    print("| | status | view from memory, in µs | /courses | /courses, served | keys fetched |")
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        served, fetched = (column[kind] for column in columns)
        cells = " | ".join(f"{cost:.0f}" for cost in in_process[kind])
        print(f"| {kind} | {served[1]} | {cells} | {served[0]:.0f} | {fetched[0]:.0f} |")


def show_flood(folder: Path, kinds: dict[str, list[str]], title: str, settings: dict[str, str]) -> None:
    """Print how good requests fare without a flood, during one, and after it."""
    known = kinds[KNOWN][:1]
    forged = [token for kind, tokens in kinds.items() if kind not in {KNOWN, NEW} for token in tokens]
    if "unknown kid" in title:
        forged = kinds["unknown kid"]
    random.shuffle(forged)
    with serve_both(folder, settings) as (auth, course):
        log = folder / f"{AUTH_PORT}.log"
        for name, rate, seconds in (("before", 0, 15), ("flood", FORGED, 60), ("after", 0, 15)):
            stopped = [auth, *children(auth)] if "hangs" in title and rate else []
            for pid in stopped:
                os.kill(pid, SIGSTOP)
            asked, used = log.read_text().count("GET /.well-known"), meter(course)
            flood = start_stream(folder, "forged", forged, rate, seconds) if rate else None
            good = finish(start_stream(folder, "good", known, GOOD, seconds))
            bad = finish(flood) if flood else NOTHING
            cpu = used()[0] / max(one["seconds"] for one in (good, bad))
            for pid in reversed(stopped):
                os.kill(pid, SIGCONT)
            asked = log.read_text().count("GET /.well-known") - asked
            p50, p99 = median(good["milliseconds"]), quantiles(good["milliseconds"], n=100)[98]
            rate = sum(bad["statuses"].values()) / bad["seconds"]
            cells = f"{good['statuses']} | {p50:.1f} | {p99:.1f} | {rate:.0f} {bad['statuses']}"
            print(f"| {title}, {name} | {cells} | {cpu:.2f} | {asked} |", flush=True)


def main() -> None:
    """Measure costs, floods, or both."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = prepare(folder) | {"ISSUER": ISSUER, "STATUS_LIST_TTL": "2"}
        os.environ.update(environment)
        os.chdir(folder)
        with serve_both(folder, {}):
            live, revoked = (log_in(ISSUER)["access_token"] for _ in range(2))
            body = f"token={revoked}".encode()
            urllib.request.urlopen(f"{ISSUER}/revoke", body).close()  # noqa: S310
            kinds = make_tokens(folder, COUNT, ISSUER, live, revoked)
            time.sleep(5)  # course_app fetches the list
            if "flood" not in sys.argv:
                in_process = cost_in_process(kinds)
        if "flood" not in sys.argv:
            show_costs(folder, kinds, in_process)
        if "cost" not in sys.argv:
            print("| | good | p50 in ms | p99 | forged/s | cores of course_app | fetches at auth_app |")
            print("|---|---|---|---|---|---|---|")
            show_flood(folder, kinds, "keys from a file", {})
            show_flood(folder, kinds, "keys fetched", JWKS)
            show_flood(folder, kinds, "keys fetched, unknown kid, auth_app hangs", JWKS)


if __name__ == "__main__":
    main()
