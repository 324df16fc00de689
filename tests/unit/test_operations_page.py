"""docs/how-to/operate.md lists every audit event and every metric."""

import ast
import re

from tests.servers import ROOT

PAGE = (ROOT / "docs/how-to/operate.md").read_text()


def find_audit_events() -> set[str]:
    """Return the names that auth_app gives to the events that it records."""
    events = set()
    for path in (ROOT / "auth_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("record", "record_on_commit")):
                constants = (child for one in node.args[:1] for child in ast.walk(one))
                events |= {str(child.value) for child in constants if isinstance(child, ast.Constant)}
    return events


def test_every_audit_event_is_in_the_table_of_the_log() -> None:
    logs = PAGE.partition("## Logs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", logs, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert listed == find_audit_events()


def test_every_metric_is_in_the_table_of_metrics() -> None:
    metrics = PAGE.partition("## Metrics")[2].partition("\n## ")[0]
    named = re.compile(r"\"([a-z_]+_(?:total|seconds|in_flight))\"")
    files = [ROOT / name for name in ("shared/metrics.py", "auth_app/metrics.py", "auth_app/__init__.py")]
    files.append(ROOT / "course_app/__init__.py")
    used = {name for path in files for name in named.findall(path.read_text())}

    assert used
    assert {name for name in used if f"`{name}`" not in metrics} == set()
