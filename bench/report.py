"""Write the results into docs/: performance.json, performance.svg, and the tables of performance.md."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from bench.growth import Growth, Lists
from bench.servers import PEERS, ROOT

DOCS = ROOT / "docs"
LIMIT, OURS, PAGE = "Flask without authentication", "this project", "this project, from the database"
DOCUMENTED, SIGNING = "flask-jwt-extended", "flask-jwt-extended, create_access_token"
FASTAPI, FASTAPI_ASYNC = "FastAPI, def", "FastAPI, async def"

# What is divided by what, and what the quotient is hoped to be at least.
RATIOS = [
    (OURS, LIMIT, 0.85),
    (OURS, FASTAPI, 1.3),
    (OURS, FASTAPI_ASYNC, 1.0),
    (OURS, DOCUMENTED, 2.0),
    (PAGE, FASTAPI, 1.0),
    (f"{OURS}, refresh_token", SIGNING, 20.0),
    (f"{OURS}, client_credentials", SIGNING, 20.0),
    (f"{OURS}, password, two cores", f"{OURS}, password", 1.7),
]


class Rate(NamedTuple):
    """The medians of a target's rounds, and the quartiles of its rates."""

    per_second: float
    quartiles: list[float]
    p99: float  # milliseconds


Processes = dict[str, dict[str, float]]
Rounds = dict[str, tuple[list[float], list[float]]]  # of each target: rates, and 99th percentiles in ms


def write_report(rounds: Rounds, growth: Growth, lists: Lists, processes: Processes, argon2: float) -> None:
    """Write everything that was measured; `argon2` is in milliseconds."""
    rates = {
        name: Rate(
            round(median(values), 1),
            [round(value, 1) for value in quantiles(values, n=4)[::2]],
            round(median(slowest), 1),
        )
        for name, (values, slowest) in rounds.items()
    }
    document = {
        "machine": describe_machine(),
        "rates": {name: rate._asdict() for name, rate in rates.items()},
        "argon2_milliseconds": round(argon2, 2),
        "growth_microseconds": {name: {"few": few, "many": many} for name, few, many in growth},
        "status_lists": {share: figures for share, *figures in lists},
        "processes": processes,
    }
    (DOCS / "performance.json").write_text(json.dumps(document, indent=2) + "\n")
    (DOCS / "performance.svg").write_text(draw(rounds))
    login = 1000 / rates[f"{OURS}, password"].per_second
    _put_table(
        "machine", ["", ""], [[name.replace("_", " "), value] for name, value in describe_machine().items()]
    )
    _put_table(
        "rates",
        ["", "requests per second", "quartiles", "p99 in ms"],
        [
            [name, f"{rate.per_second:,.0f}", " to ".join(f"{q:,.0f}" for q in rate.quartiles), rate.p99]
            for name, rate in rates.items()
        ],
    )
    _put_table(
        "ratios",
        ["", "measured", "hoped for"],
        [
            [f"{one} / {other}", f"{rates[one].per_second / rates[other].per_second:.2f}", f"at least {hope}"]
            for one, other, hope in RATIOS
        ]
        + [[f"time of {OURS}, password / argon2 alone", f"{login / argon2:.2f}", "at most 1.15"]],
    )
    _put_table(
        "growth",
        ["", "few, in µs", "many, in µs", "ratio"],
        [[name, f"{few:.0f}", f"{many:.0f}", f"{many / few:.2f}"] for name, few, many in growth],
    )
    _put_table(
        "status lists",
        ["revoked of 1,048,576", "bytes", "ms to make", "ms to read"],
        [[share, f"{size:,}", f"{made:.0f}", f"{read:.1f}"] for share, size, made, read in lists],
    )
    _put_table(
        "processes",
        ["", "MiB per worker", "seconds to the first answer"],
        [[f"{name}_app", *figures.values()] for name, figures in processes.items()],
    )


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on."""
    names = ("flask", "flask-jwt-extended", "pyjwt", "cryptography", "gunicorn", "sqlalchemy")
    code = "import fastapi, uvicorn; print(fastapi.__version__, uvicorn.__version__)"
    peers = subprocess.run([str(PEERS), "-c", code], check=True, capture_output=True, text=True).stdout
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        **dict(zip(("fastapi", "uvicorn"), peers.split(), strict=True)),
    }


def _put_table(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Put a table between its two marks in performance.md."""
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    page = DOCS / "performance.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + table + "\n" + end + rest.split(end)[1])


def draw(rounds: Rounds) -> str:
    """Return a plot: a bar for each target's median, and a line from its slowest to its fastest round."""
    widest = max(max(rates) for rates, _ in rounds.values())
    rows = []
    for number, (name, (rates, _)) in enumerate(rounds.items()):
        y, scale = 24 + number * 28, 340 / widest
        rate, low, high = median(rates), min(rates), max(rates)
        colour = "#2b6cb0" if name.startswith(OURS) else "#a0aec0"
        rows += [
            f'<text x="272" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect x="280" y="{y}" width="{rate * scale:.1f}" height="20" fill="{colour}"/>',
            f'<path d="M{280 + low * scale:.1f} {y + 10}H{280 + high * scale:.1f}" stroke="#1a202c"/>',
            f'<text x="{288 + high * scale:.1f}" y="{y + 14}">{rate:.0f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {40 + len(rounds) * 28}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="280" y="16">requests per second: median, slowest and fastest round</text>'
        f"{''.join(rows)}</svg>\n"
    )
