"""Print the results, and write them to docs/ as performance.json and as the tables of performance.md."""

import json
from collections.abc import Sequence
from statistics import median, quantiles

from bench.goals import GOALS, Goal
from bench.growth import Growth, Lists
from bench.latency import list_runs
from bench.plot import draw, draw_summary
from bench.programs import PROGRAMS
from bench.servers import ROOT
from bench.versions import describe_machine, describe_versions

DOCS = ROOT / "docs/explanation"
PLOT, SUMMARY_PLOT = DOCS / "performance.svg", ROOT / "docs/images/performance-summary.svg"

Series = dict[str, list[float]]  # by the name of a measurement: a figure for each round
Row = Sequence[object]
Processes = dict[str, dict[str, float]]


def print_results(rates: Series, slowest: Series, latencies: Series) -> None:
    """Print the rates, the latencies, and the goals whose targets were measured."""
    tables = (
        _tabulate_rates(rates, slowest),
        _tabulate_latencies(latencies),
        _tabulate_goals(rates | latencies),
    )
    for head, rows in tables:
        if rows:
            print(_make_table(head, rows))


def print_ratios(rates: Series) -> None:
    """Print each target's rate as a share of the first target's."""
    first = next(iter(rates))
    rows = []
    for name, figures in rates.items():
        ratios = [figure / other for figure, other in zip(figures, rates[first], strict=True)]
        rows.append([name, f"{median(ratios):.2f}", _show_quartiles(ratios, ".2f")])
    print(_make_table([f"to {first}", "median", "quartiles"], rows))


def write_report(
    rates: Series, slowest: Series, latencies: Series, growth: Growth, lists: Lists, processes: Processes
) -> None:
    """Write all results into docs/."""
    document = {
        "machine": describe_machine(),
        "programs": {program.name: describe_versions(program) for program in PROGRAMS.values()},
        "rates": {
            name: {"per_second": figures, "p99_milliseconds": slowest.get(name)}
            for name, figures in rates.items()
        },
        "latencies_milliseconds": latencies,
        "growth_microseconds": {name: {"few": few, "many": many} for name, few, many in growth},
        "status_lists": {share: figures for share, *figures in lists},
        "processes": processes,
    }
    (DOCS / "performance.json").write_text(json.dumps(document, indent=2) + "\n")
    write_plots()
    _put_table("machine", ["", ""], [[name, value] for name, value in describe_machine().items()])
    _put_table("programs", *_tabulate_programs())
    _put_table("rates", *_tabulate_rates(rates, slowest))
    _put_table("latencies", *_tabulate_latencies(latencies))
    _put_table("goals", *_tabulate_goals(rates | latencies))
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


def write_plots() -> None:
    """Draw both plots from performance.json, without measuring anything."""
    measured = json.loads((DOCS / "performance.json").read_text())["rates"]
    rates = {name: figures["per_second"] for name, figures in measured.items()}
    PLOT.write_text(draw(rates))
    SUMMARY_PLOT.write_text(draw_summary(rates))


def _tabulate_programs() -> tuple[Row, list[Row]]:
    rows: list[Row] = [
        [program.name, describe_versions(program), f"`{program.show_command()}`", program.differs]
        for program in PROGRAMS.values()
    ]
    return ["", "versions", "command", "what it does differently"], rows


def _tabulate_rates(rates: Series, slowest: Series) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for name, figures in rates.items():
        p99 = f"{median(slowest[name]):.1f}" if name in slowest else ""
        rows.append([name, f"{median(figures):,.0f}", _show_quartiles(figures, ",.0f"), p99])
    return ["", "requests per second", "quartiles", "p99 in ms"], rows


def _tabulate_latencies(latencies: Series) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for run in list_runs():
        if run.name in latencies:
            p99 = latencies[run.p99]
            middles = f"{median(latencies[run.p50]):.1f}", f"{median(p99):.1f}"
            rows.append([run.name, f"{latencies[run.name][0]:,.0f}", *middles, _show_quartiles(p99, ".1f")])
    return ["", "requests per second", "p50 in ms", "p99 in ms", "quartiles of the p99"], rows


def _tabulate_goals(figures: Series) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for goal in GOALS:
        if goal.numerator in figures and goal.denominator in figures:
            ratios = compare(goal, figures)
            bound = f"{goal.direction} {goal.bound}"
            reached = "yes" if is_reached(goal, ratios) else "no"
            rows.append([goal.name, f"{median(ratios):.2f}", _show_quartiles(ratios, ".2f"), bound, reached])
    return ["", "median", "quartiles", "goal", "reached"], rows


def compare(goal: Goal, figures: Series) -> list[float]:
    """Return the quotient for each round: a slow phase of the machine affects both sides of it."""
    pairs = zip(figures[goal.numerator], figures[goal.denominator], strict=True)
    return [numerator / denominator for numerator, denominator in pairs]


def is_reached(goal: Goal, ratios: list[float]) -> bool:
    """Return whether the median of the rounds meets the goal."""
    return median(ratios) >= goal.bound if goal.direction == "at least" else median(ratios) <= goal.bound


def _show_quartiles(figures: list[float], form: str) -> str:
    low, _, high = quantiles(figures, method="inclusive") if len(figures) > 1 else figures * 3
    return f"{low:{form}} to {high:{form}}"


def _make_table(head: Row, rows: Sequence[Row]) -> str:
    lines: list[Row] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _put_table(name: str, head: Row, rows: Sequence[Row]) -> None:
    """Replace a table between its two marks in performance.md."""
    page = DOCS / "performance.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + _make_table(head, rows) + end + rest.split(end)[1])
