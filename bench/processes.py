"""Measure the memory of a worker and the time that a service takes to start."""

import time
import urllib.request
from pathlib import Path
from statistics import median

from bench.servers import FIRST_PORT, gunicorn, serve
from bench.usage import children, proportional_set_size

ROUNDS = 5
PORT = FIRST_PORT + 90


def measure_processes(folder: Path, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return for each service the MiB of a worker, and the seconds from the start to the first response."""
    return {name: _measure_service(f"wsgi_{name}:app", folder, environment) for name in ("auth", "course")}


def _measure_service(application: str, folder: Path, environment: dict[str, str]) -> dict[str, float]:
    seconds: list[float] = []
    mebibytes: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with serve(gunicorn(application, PORT, workers=2), environment, folder, PORT, "0,1") as (url, pid):
            urllib.request.urlopen(f"{url}/readyz").close()  # noqa: S310
            seconds.append(time.perf_counter() - started)
            mebibytes += map(proportional_set_size, children(pid))
    return {
        "mebibytes_per_worker": round(median(mebibytes), 1),
        "seconds_to_answer": round(median(seconds), 2),
    }
