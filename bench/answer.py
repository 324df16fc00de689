"""The response of every measured view: a page of courses, which bench.compare has written to a file."""

import json
from pathlib import Path
from typing import Any

ANSWER: dict[str, Any] = json.loads(Path("answer.json").read_text())
