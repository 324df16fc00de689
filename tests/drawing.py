"""Draw a dashboard as Grafana would, from its panels and Prometheus' results."""

import re
from collections.abc import Callable
from html import escape
from typing import Any

History = Callable[[str], list[dict[str, Any]]]  # the series of a query, as Prometheus returns them

COLUMN, ROW, LINE = 50, 30, 16  # pixels
LONGEST = 34  # characters of a name
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d"]


def draw_dashboard(panels: list[dict[str, Any]], history: History) -> str:
    """Return an SVG of the dashboard."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#111217"/>'
        f"{''.join(draw_panel(panel, history) for panel in panels)}</svg>\n"
    )


def draw_panel(panel: dict[str, Any], history: History) -> str:
    place, unit = panel["gridPos"], panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    width, height = place["w"] * COLUMN - 8, place["h"] * ROW - 8
    series = [
        (name_of(found["metric"], target.get("legendFormat", "")), found["values"])
        for target in panel["targets"]
        for found in history(target["expr"])
    ]
    draw = draw_number if panel["type"] == "stat" else draw_lines
    return (
        f'<g transform="translate({place["x"] * COLUMN + 4} {place["y"] * ROW + 4})">'
        f'<rect width="{width}" height="{height}" rx="2" fill="#181b1f" stroke="#2c3235"/>'
        f'<text x="8" y="18" fill="#d8d9da" font-weight="bold">{escape(panel["title"])}</text>'
        f"{draw(series, unit, width, height)}</g>"
    )


def draw_number(series: list[tuple[str, Any]], unit: str, width: int, height: int) -> str:
    number = float(series[0][1][-1][1])
    return (
        f'<text x="{width / 2}" y="{height / 2 + 16}" text-anchor="middle" font-size="44" '
        f'fill="{COLOURS[0]}">{number:.0f} {unit}</text>'
    )


def draw_lines(series: list[tuple[str, Any]], unit: str, width: int, height: int) -> str:
    legend = series[:8]
    bottom, left = height - 12 - LINE * ((len(legend) + 1) // 2), 60
    points = [(float(at), float(value)) for _, values in series for at, value in values]
    points = [(at, value) for at, value in points if value == value]  # without NaN
    begin, end = min(at for at, _ in points), max(at for at, _ in points)
    top = max(value for _, value in points) * 1.1 or 1
    parts = []
    for part in range(4):
        y = bottom - (bottom - 30) * part / 3
        parts.append(
            f'<path d="M{left} {y:.1f}H{width - 8}" stroke="#2c3235"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#8e8e8e">'
            f"{top * part / 3:.3g} {unit}</text>"
        )
    for number, (name, values) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(
            f"{left + (at - begin) / (end - begin or 1) * (width - 8 - left):.1f} "
            f"{bottom - float(value) / top * (bottom - 30):.1f}"
            for at, value in values
            if value != "NaN"
        )
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if number < len(legend):
            x, y = 16 + number % 2 * (width - 16) / 2, bottom + LINE * (1 + number // 2)
            parts.append(
                f'<path d="M{x} {y - 4}h12" stroke="{colour}" stroke-width="3"/>'
                f'<text x="{x + 18}" y="{y}" fill="#c7d0d9">{escape(name)}</text>'
            )
    return "".join(parts)


def name_of(metric: dict[str, str], pattern: str) -> str:
    name = re.sub(r"{{(\w+)}}", lambda match: metric.get(match[1], ""), pattern)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
