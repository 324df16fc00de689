"""Send requests to a target: one, to check its response, or as many as wrk can."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from typing import Any

from bench.servers import ROOT
from bench.targets import (
    Request,
    Target,
    read_open_page,
    read_page,
    read_page_as_new_users,
    read_with_own_token,
)

LOAD_CORE = "1"
READERS = (read_page, read_page_as_new_users, read_open_page, read_with_own_token)


def check_answers(target: Target, request: Request, expected: dict[str, Any]) -> None:
    """Check that a target returns the page of courses, and refuses requests without a token.

    Raises `RuntimeError`: rates of targets that do not do the same must not be compared.
    """
    if target.prepare not in READERS:
        return
    status, body = _get(target.url, request.headers)
    if status != 200 or json.loads(body) != expected:
        raise RuntimeError(f"{target.name}: {status}, {body!r} instead of the page of courses")
    if target.prepare is not read_open_page:
        status, body = _get(target.url, {})
        if status != 401:
            raise RuntimeError(f"{target.name}: {status} instead of 401 without a token")


def _get(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def run_wrk(target: Target, request: Request, seconds: int) -> tuple[float, float]:
    """Return the requests per second and the 99th percentile in milliseconds.

    Raises `RuntimeError` if a response was not a success.
    """
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        "wrk",
        "-t1",
        f"-c{target.connections}",
        f"-d{seconds}s",
        "--latency",
    ]
    for name, value in request.headers.items():
        command += ["-H", f"{name}: {value}"]
    if request.script:
        command += ["-s", str(ROOT / "bench" / request.script)]
    environment = os.environ | request.environment
    done = subprocess.run([*command, target.url], env=environment, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{target.name}: {done.stdout}")
    rate = float(re.findall(r"Requests/sec: +([0-9.]+)", done.stdout)[0])
    number, unit = re.findall(r"99% +([0-9.]+)(us|ms|s)", done.stdout)[0]
    return rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
