"""Fill in the templates of generated pages, which are Markdown with {{names}}."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fill(template: str, **texts: str) -> str:
    """Return a template of this folder with a text for each {{name}}. Raises `KeyError`."""
    text = (Path(__file__).parent / template).read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]].strip("\n"), text)
