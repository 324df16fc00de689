"""docs/how-to/operate.md lists every audit event and metric, and its figures match the code."""

import ast
import re

import pytest

from auth_app.accounts.throttle import MAXIMUM_DELAY
from auth_app.oauth.backchannel_logout import DELAYS
from auth_app.settings import AuthSettings
from shared.database import _TIMEOUTS
from tests.figures import find_figures
from tests.servers import ROOT

PAGE = (ROOT / "docs/how-to/operate.md").read_text()


def find_audit_events() -> set[str]:
    """Return the names of the audit events that auth_app records."""
    events = set()
    for path in (ROOT / "auth_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("record", "record_on_commit")):
                constants = (child for one in node.args[:1] for child in ast.walk(one))
                events |= {str(child.value) for child in constants if isinstance(child, ast.Constant)}
    return events


def test_log_table_lists_exactly_the_audit_events() -> None:
    logs = PAGE.partition("## Logs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", logs, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert listed == find_audit_events()


def test_metrics_section_lists_every_metric() -> None:
    metrics = PAGE.partition("## Metrics")[2].partition("\n## ")[0]
    named = re.compile(r"\"([a-z_]+_(?:total|seconds|in_flight))\"")
    files = [ROOT / name for name in ("shared/metrics.py", "auth_app/metrics.py", "auth_app/__init__.py")]
    files.append(ROOT / "course_app/__init__.py")
    used = {name for path in files for name in named.findall(path.read_text())}

    assert used
    assert {name for name in used if f"`{name}`" not in metrics} == set()


AUTH = AuthSettings.model_fields
GUNICORN = dict(re.findall(r"^(\w+) = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE))
FIGURES = [
    (r"in progress up to (\d+) seconds to finish", int(GUNICORN["graceful_timeout"])),
    (r"--workers N`; the default is (\d+)\)", int(GUNICORN["workers"])),
    (r"the default is \d\) with (\w+) threads", int(GUNICORN["threads"])),
    (r"has room for ([\d,]+) sessions", AUTH["status_list_size"].default),
    (r"(\w+) attempts in \d+ minutes", len(DELAYS) + 1),
    (r"attempts in (\d+) minutes", round(sum(DELAYS) / 60, -1)),
    (r"does not respond within (\d+) s, is locked", _TIMEOUTS["sqlite"]["timeout"]),
    (r"The wait is (\d+) minutes at most", MAXIMUM_DELAY / 60),
    (r"each password hash (\d+) MiB", AUTH["argon2_memory"].default / 1024),
    (r"`PASSWORD_HASHES_AT_ONCE`, (\d+) by default", AUTH["password_hashes_at_once"].default),
    (r"list expires \(after (\d+) to", AUTH["status_list_lifetime"].default / 2 / 60),
    (r"list expires \(after \d+ to (\d+) minutes", AUTH["status_list_lifetime"].default / 60),
]


@pytest.mark.parametrize(("pattern", "value"), FIGURES, ids=[pattern for pattern, _ in FIGURES])
def test_figure_matches_the_code(pattern: str, value: float) -> None:
    assert set(find_figures(PAGE, pattern)) == {value}
