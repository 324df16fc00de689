"""Find the numbers in the text of a page, to compare them with the code or the configuration."""

import re

WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "half": 0.5}


def find_figures(page: str, pattern: str) -> list[float]:
    """Return the numbers in the groups of a pattern, which must match. Line breaks count as spaces."""
    found = re.findall(pattern, re.sub(r"\s+", " ", page))
    assert found, f"the page has no {pattern!r}"
    cells = [cell for match in found for cell in ([match] if isinstance(match, str) else match)]
    return [WORDS.get(cell.lower()) or float(cell.replace(",", "")) for cell in cells]
