"""The benchmark's tables are consistent; nothing is started or measured."""

import json
from statistics import median

from bench.goals import ARGON2, GOALS
from bench.latency import PAIRS, list_runs
from bench.programs import PROGRAMS
from bench.targets import TARGETS
from bench.token_targets import TOKEN_TARGETS
from tests.servers import ROOT

NAMES = [target.name for target in TARGETS + TOKEN_TARGETS]


def test_goals_name_only_what_is_measured() -> None:
    measured = {*NAMES, ARGON2, *(run.p99 for run in list_runs())}
    assert {name for goal in GOALS for name in (goal.numerator, goal.denominator)} <= measured
    assert {name for pair in PAIRS for name in pair} <= set(NAMES)


def test_names_and_ports_of_the_benchmark_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({program.port for program in PROGRAMS.values()}) == len(PROGRAMS)


def test_each_program_is_shown_with_a_command_that_can_be_typed() -> None:
    for program in PROGRAMS.values():
        assert "{" not in program.show_command()


def test_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text()
    rates = json.loads((ROOT / "docs/explanation/performance.json").read_text())["rates"]

    assert len(rates) > 30
    for name, measured in rates.items():
        assert f"| {name} | {median(measured['per_second']):,.0f} | " in page


def test_page_shows_every_goal() -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text()

    for goal in GOALS:
        assert (
            f"| {goal.direction} {goal.bound} |" in page.partition(f"| {goal.name} | ")[2].partition("\n")[0]
        )
