"""Measure what a process costs: its memory, its start, and one hash."""

import os
import time
import urllib.request
from pathlib import Path
from statistics import median

from argon2 import PasswordHasher

from auth_app.settings import AuthSettings
from bench.servers import gunicorn, serve

ROUNDS = 5


def measure_processes(folder: Path, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return for each service the MiB of a worker and the seconds from its start to the first answer."""
    return {name: _measure_service(f"wsgi_{name}:app", folder, environment) for name in ("auth", "course")}


def _measure_service(application: str, folder: Path, environment: dict[str, str]) -> dict[str, float]:
    seconds, mebibytes = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with serve(gunicorn(application, 9010, workers=2), environment, folder, 9010, "0,1") as (url, pid):
            urllib.request.urlopen(f"{url}/readyz").close()  # noqa: S310
            seconds.append(time.perf_counter() - started)
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            mebibytes += [_proportional_set_size(worker) for worker in workers]
    return {
        "mebibytes_per_worker": round(median(mebibytes), 1),
        "seconds_to_answer": round(median(seconds), 2),
    }


def _proportional_set_size(pid: str) -> float:
    """Return the MiB of a process, what it shares with others divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure_argon2() -> float:
    """Return the milliseconds that verifying a password takes by itself, on the first core."""
    os.sched_setaffinity(0, {0})
    settings = AuthSettings()
    hasher = PasswordHasher(settings.argon2_passes, settings.argon2_memory, parallelism=1)
    password_hash, times = hasher.hash("password"), []
    for _ in range(100):
        started = time.perf_counter()
        hasher.verify(password_hash, "password")
        times.append((time.perf_counter() - started) * 1000)
    return median(times)
