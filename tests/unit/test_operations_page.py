"""The commands in docs/how-to/operate.md work, and it has every setting of the sign-in."""

import ast
import re
import shlex
from collections.abc import Callable

from tests.conftest import KeyPair, open_auth, run_command
from tests.servers import ROOT

PAGE = (ROOT / "docs/how-to/operate.md").read_text()
REGISTER = PAGE.partition("### Register an application")[2].partition("### ")[0]
COMMANDS = re.findall(r"^flask --app wsgi_auth (.*)$", REGISTER.replace("\\\n", ""), re.MULTILINE)
SERVICE = "https://course.example.com"


def test_commands_register_each_kind_of_application(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, resources=(SERVICE,)) as auth:
        for command in COMMANDS:
            result = run_command(auth, *shlex.split(command))
            assert result.exit_code == 0, result.output
        listed = run_command(auth, "clients", "list").stdout

    assert len(COMMANDS) == 5
    for method in ("client_secret", "private_key_jwt", "none"):
        assert f" {method} " in listed


def test_settings_of_the_sign_in_are_explained() -> None:
    from auth_app.settings import AuthSettings

    of_sign_in = re.compile("browser_|brand_|page_|password_grant|backchannel_")
    for name in filter(of_sign_in.match, AuthSettings.model_fields):
        assert f"`{name.upper()}`" in PAGE


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
