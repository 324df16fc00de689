"""Measure latencies at 80 % of the best rate: ours and a peer's, as a table of pairs of targets."""

import random
from collections import defaultdict
from statistics import median
from typing import NamedTuple

from bench.steady import send_steadily
from bench.targets import Setup, Target

SHARE = 0.8
# Each at 80 % of its own best rate, and both at 80 % of the best rate of the slower one.
PAIRS = [
    ("ours, @require_scope", "FastAPI, async def"),
    ("ours, @require_scope", "FastAPI, def"),
    ("ours, courses from SQLite", "FastAPI, courses from SQLite"),
]

Series = dict[str, list[float]]


class Run(NamedTuple):
    """A target at a rate, which the name of the run describes."""

    name: str
    target: str
    slower_of: tuple[str, ...]  # the rate is 80 % of the lowest of these targets' rates

    @property
    def p50(self) -> str:
        """Return the name of the series of its medians."""
        return f"{self.name}, p50"

    @property
    def p99(self) -> str:
        """Return the name of the series of its 99th percentiles."""
        return f"{self.name}, p99"


def list_runs() -> list[Run]:
    """Return all runs: each target once at its own rate, and once in each pair."""
    own = [run_alone(name) for name in dict.fromkeys(name for pair in PAIRS for name in pair)]
    return own + [run_beside(*pair) for pair in PAIRS] + [run_beside(*reversed(pair)) for pair in PAIRS]


def run_alone(name: str) -> Run:
    """Return the run of a target at 80 % of its own best rate."""
    return Run(f"{name}, at 80 %", name, (name,))


def run_beside(name: str, other: str) -> Run:
    """Return the run of a target at 80 % of the best rate of the slower of two."""
    return Run(f"{name}, at 80 % of the slower of it and {other}", name, (name, other))


def measure_latencies(
    targets: list[Target], rates: Series, setup: Setup, rounds: int, seconds: int
) -> Series:
    """Return the latencies of each run in each round, in milliseconds, and the rates at which it was sent."""
    by_name = {target.name: target for target in targets}
    runs = [run for run in list_runs() if set(run.slower_of) <= set(by_name)]
    figures: Series = defaultdict(list)
    for number in range(1, rounds + 1):
        for run in random.sample(runs, len(runs)):
            target = by_name[run.target]
            rate = SHARE * min(median(rates[name]) for name in run.slower_of)
            request = target.prepare(target, setup)
            p50, p99 = send_steadily(target.url, request.headers, rate, seconds)
            print(
                f"{number}/{rounds} {run.name:70} {rate:6.0f}/s  p50 {p50:6.1f}  p99 {p99:6.1f} ms",
                flush=True,
            )
            figures[run.name].append(rate)
            figures[run.p50].append(p50)
            figures[run.p99].append(p99)
    return figures
