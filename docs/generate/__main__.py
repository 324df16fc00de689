"""Write what is generated from the code: `python -m docs.generate`. `--check` reports what is out of date."""

import sys

from docs.generate.pages import PAGES
from docs.generate.templates import ROOT

texts = {name: generate() for name, generate in PAGES.items()}
outdated = [name for name, text in texts.items() if (ROOT / name).read_text() != text]
if sys.argv[1:] not in ([], ["--check"]):
    sys.exit("usage: python -m docs.generate [--check]")
if sys.argv[1:]:
    sys.exit(f"out of date: {', '.join(outdated)}" if outdated else 0)
for name in outdated:
    (ROOT / name).write_text(texts[name])
