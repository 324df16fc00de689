"""Write what is generated from the code: `python -m docs.generate`, or `scripts/docs generate`."""

from docs.generate.pages import PAGES
from docs.generate.templates import ROOT

for name, generate in PAGES.items():
    text = generate()
    if (ROOT / name).read_text() != text:
        (ROOT / name).write_text(text)
