"""Plot the rates as an SVG: a bar for each median, and a line from the slowest to the fastest round."""

from statistics import median


def draw(rates: dict[str, list[float]]) -> str:
    """Return an SVG of the requests per second of each round."""
    widest = max(max(figures) for figures in rates.values())
    rows = []
    for number, (name, figures) in enumerate(rates.items()):
        y, scale = 24 + number * 28, 320 / widest
        rate, low, high = median(figures), min(figures), max(figures)
        colour = "#2b6cb0" if name.startswith("ours") else "#a0aec0"
        rows += [
            f'<text x="372" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect x="380" y="{y}" width="{rate * scale:.1f}" height="20" fill="{colour}"/>',
            f'<path d="M{380 + low * scale:.1f} {y + 10}H{380 + high * scale:.1f}" stroke="#1a202c"/>',
            f'<text x="{388 + high * scale:.1f}" y="{y + 14}">{rate:.0f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {40 + len(rates) * 28}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="380" y="16">requests per second: median, slowest and fastest round</text>'
        f"{''.join(rows)}</svg>\n"
    )
