"""What every view that is measured answers: a page of courses, which bench.compare has written."""

import json
from pathlib import Path
from typing import Any

ANSWER: dict[str, Any] = json.loads(Path("answer.json").read_text())
