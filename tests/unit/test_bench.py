"""The benchmark's tables are consistent; nothing is started or measured."""

import json
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

from bench import report
from bench.goals import ARGON2, GOALS
from bench.latency import PAIRS, list_runs
from bench.plot import SUMMARY
from bench.programs import PROGRAMS
from bench.targets import TARGETS
from bench.token_targets import TOKEN_TARGETS
from tests.servers import ROOT

NAMES = [target.name for target in TARGETS + TOKEN_TARGETS]


def test_goals_refer_only_to_measured_values() -> None:
    measured = {*NAMES, ARGON2, *(run.p99 for run in list_runs())}
    assert {name for goal in GOALS for name in (goal.numerator, goal.denominator)} <= measured
    assert {name for pair in PAIRS for name in pair} <= set(NAMES)


def test_benchmark_names_and_ports_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({program.port for program in PROGRAMS.values()}) == len(PROGRAMS)


def test_shown_command_of_each_program_has_no_placeholders() -> None:
    for program in PROGRAMS.values():
        assert "{" not in program.show_command()


def test_page_shows_the_measured_rates() -> None:
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


# The rows of the first table: the peer's targets for a token that it has seen before and for a new one.
COMPARED = {
    "FastAPI, `async def`": ("FastAPI, async def", "FastAPI, async def, new users"),
    "FastAPI, `def`": ("FastAPI, def", "FastAPI, def, new users"),
    "Authlib": ("Authlib", "Authlib"),
    "Django with Simple JWT": ("Django, Simple JWT", "Django, Simple JWT"),
    "flask-jwt-extended as documented": ("flask-jwt-extended", "flask-jwt-extended"),
}


@pytest.mark.parametrize("name", COMPARED)
def test_summary_matches_the_measurements(name: str) -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text()
    rates = json.loads((ROOT / "docs/explanation/performance.json").read_text())["rates"]
    row = page.partition(f"| {name} | ")[2].partition(" |\n")[0].split(" | ")
    ours = ("ours, @require_scope", "ours, @require_scope, new users")

    for shown, target, peer in zip(row, ours, COMPARED[name], strict=True):
        pairs = zip(rates[target]["per_second"], rates[peer]["per_second"], strict=True)
        assert abs(float(shown) - median(a / b for a, b in pairs)) < 0.06


def test_committed_plots_match_the_measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`write_plots` draws both from stored measurements, and the files in docs/ are its output."""
    committed = {path.name: path.read_text() for path in (report.PLOT, report.SUMMARY_PLOT)}
    monkeypatch.setattr(report, "PLOT", tmp_path / report.PLOT.name)
    monkeypatch.setattr(report, "SUMMARY_PLOT", tmp_path / report.SUMMARY_PLOT.name)

    report.write_plots()

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == committed


def test_short_plot_has_at_most_ten_bars() -> None:
    bars = ElementTree.parse(report.SUMMARY_PLOT).findall(".//{*}path")  # noqa: S314  # a file of ours

    assert len(bars) == len(SUMMARY) <= 10
    assert set(SUMMARY) <= set(NAMES)
