"""Plot the rates as an SVG: a bar for each median, and a line from the slowest to the fastest round."""

from statistics import median


def draw(rates: dict[str, list[float]]) -> str:
    """Return an SVG of the requests per second of each round."""
    title = "requests per second: median, slowest and fastest round"
    widest = max(max(figures) for figures in rates.values())
    rows = []
    for number, (name, figures) in enumerate(rates.items()):
        y, scale = 24 + number * 28, 320 / widest
        rate, low, high = median(figures), min(figures), max(figures)
        colour = "#2b6cb0" if "ours" in name else "#a0aec0"
        rows += [
            f'<text x="372" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect x="380" y="{y}" width="{rate * scale:.1f}" height="20" fill="{colour}"/>',
            f'<path d="M{380 + low * scale:.1f} {y + 10}H{380 + high * scale:.1f}" stroke="#1a202c"/>',
            f'<text x="{388 + high * scale:.1f}" y="{y + 14}">{rate:,.0f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {40 + len(rates) * 28}" '
        f'role="img" aria-label="{title}" font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="380" y="16">{title}</text>'
        f"{''.join(rows)}</svg>\n"
    )


# What the short plot shows: the target, and what its bar is called there.
SUMMARY = {
    "FastAPI, async def": "protected view: FastAPI, async def",
    "Express": "protected view: Express",
    "ours, @require_scope": "protected view: ours, token seen before",
    "FastAPI, def": "protected view: FastAPI, def",
    "Authlib": "protected view: Authlib",
    "ours, @require_scope, new users": "protected view: ours, token not seen before",
    "flask-jwt-extended": "protected view: flask-jwt-extended, as documented",
    "FastAPI, SQLite, bare connection": "page from SQLite: FastAPI, bare connection",
    "ours, courses from SQLite": "page from SQLite: ours, GET /courses",
    "FastAPI, courses from SQLite": "page from SQLite: FastAPI with SQLAlchemy",
}


def draw_summary(rates: dict[str, list[float]]) -> str:
    """Return an SVG of the targets in `SUMMARY`."""
    return draw({label: rates[name] for name, label in SUMMARY.items()})
