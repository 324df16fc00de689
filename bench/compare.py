"""Compare the services with their peers, and write the results into docs/: run by `scripts/bench`.

Every program has one worker on the first core; the load generator and PostgreSQL use the second. A round
measures each target once, in random order, so that a slow phase of the machine affects all of them. A figure
is the median of the rounds.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from auth_app.settings import AuthSettings
from bench.argon2 import measure_argon2
from bench.goals import ARGON2, LOGIN
from bench.growth import measure_growth
from bench.latency import measure_latencies
from bench.load import LOAD_CORE, check_answers, run_wrk
from bench.processes import measure_processes
from bench.programs import PROGRAMS, Program
from bench.report import Series, print_ratios, print_results, write_report
from bench.servers import fill_database, prepare, serve
from bench.targets import TARGETS, Setup, Target
from bench.token_targets import TOKEN_TARGETS, check_token, get_environment
from course_app.cli import DEMO_COURSES

ROUNDS, SECONDS = 7, 3


def write_answer(folder: Path) -> dict[str, object]:
    """Write the response of the views that need no database: the same page as `/courses` returns."""
    courses = [
        {"id": number, "title": title, "description": description, "capacity": None}
        for number, (title, description) in enumerate(DEMO_COURSES.items(), 1)
    ]
    answer: dict[str, object] = {"courses": courses, "next": None}
    (folder / "answer.json").write_text(json.dumps(answer))
    return answer


@contextmanager
def serve_programs(setup: Setup, programs: list[Program]) -> Iterator[None]:
    """Serve these programs, and the databases that they need, until the block ends."""
    keys = {
        f"BENCH_{kind}_KEY": (setup.folder / f"keys/{kind.lower()}_key.pem").read_text()
        for kind in ("PUBLIC", "PRIVATE")
    }
    settings = AuthSettings()
    keys |= get_environment(settings.argon2_passes, settings.argon2_memory)
    with ExitStack() as stack:
        databases = {"sqlite": setup.environment}
        if any(program.database == "postgresql" for program in programs):
            from tests.databases import serve_postgresql  # which needs requirements-dev.txt

            server = stack.enter_context(serve_postgresql())
            server.psql("CREATE DATABASE bench")
            url = {"COURSE_DATABASE_URL": str(server.get_uri(database="bench"))}
            databases["postgresql"] = setup.environment | url
            fill_database(setup.folder, databases["postgresql"], "wsgi_course")
        for program in programs:
            environment = databases[program.database] | ({} if program.is_ours else keys)
            command = program.get_command()
            stack.enter_context(serve(command, environment, setup.folder, program.port, program.cores))
        yield


def measure_rounds(targets: list[Target], setup: Setup, rounds: int, seconds: int) -> tuple[Series, Series]:
    """Return the requests per second of each target in each round, and the 99th percentiles in ms."""
    rates: Series = {target.name: [] for target in targets}
    slowest: Series = {target.name: [] for target in targets}
    for number in range(rounds + 1):  # the first one is for warming up and does not count
        for target in random.sample(targets, len(targets)):
            request = target.prepare(target, setup)
            rate, p99 = run_wrk(target, request, seconds if number else 1)
            print(f"{number}/{rounds} {target.name:42} {rate:8.0f}/s  p99 {p99:6.1f} ms", flush=True)
            if number:
                rates[target.name].append(rate)
                slowest[target.name].append(p99)
        if number and LOGIN in rates:
            rates.setdefault(ARGON2, []).append(measure_argon2(seconds))
    return rates, slowest


def choose_targets(only: list[str]) -> list[Target]:
    """Return the targets whose names contain one of the texts. Ends the program if there is none."""
    known = TARGETS + TOKEN_TARGETS
    targets = [target for target in known if any(text in target.name for text in only)]
    if not targets:
        sys.exit("no target has such a name: " + ", ".join(target.name for target in known))
    return targets


def measure(targets: list[Target], setup: Setup, rounds: int, seconds: int) -> tuple[Series, Series, Series]:
    """Serve the targets, check their responses, and return rates, 99th percentiles, and latencies."""
    needed = {target.program.name for target in targets} | {"auth_app"}
    expected = write_answer(setup.folder)
    with serve_programs(setup, [program for program in PROGRAMS.values() if program.name in needed]):
        for target in targets:
            request = target.prepare(target, setup)
            check_answers(target, request, expected)
            if request.script in ("post.lua", "refresh.lua"):
                check_token(target, request)
        rates, slowest = measure_rounds(targets, setup, rounds, seconds)
        return rates, slowest, measure_latencies(targets, rates, setup, rounds, seconds)


def main() -> None:
    """Measure, print the results, and write them into docs/ after a complete run."""
    arguments = parse_arguments()
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: install it (Debian and Ubuntu: apt install wrk)")
    os.sched_setaffinity(0, {int(LOAD_CORE)})  # PostgreSQL inherits it
    targets = choose_targets(arguments.only or [""])
    with tempfile.TemporaryDirectory() as name:
        setup = Setup(Path(name), prepare(Path(name)))
        growth = measure_growth() if arguments.report else None
        results = measure(targets, setup, arguments.rounds, arguments.seconds)
        print_results(*results)
        if arguments.only:
            print_ratios(results[0])
        if growth:
            write_report(*results, *growth, measure_processes(setup.folder, setup.environment))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured (default: 7)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for how long each time (default: 3)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TEXT",
        help="measure the targets whose names contain a TEXT, and divide their rates by the first one's",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="print the results, and leave docs/ as it is"
    )
    arguments = parser.parse_args()
    is_whole = arguments.rounds >= ROUNDS and arguments.seconds >= SECONDS and not arguments.only
    arguments.report = is_whole and not arguments.no_report
    return arguments


if __name__ == "__main__":
    main()
