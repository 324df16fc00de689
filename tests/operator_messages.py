"""Every message that an operator can see at startup or from a command, collected from the source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.servers import ROOT

# Exceptions whose text is printed, and functions that create such a text (`describe`, and `fail` of click).
_EXCEPTIONS = {
    *("ConfigurationError", "UnusableKey", "UnusableRecord"),
    *("ClickException", "UsageError", "BadParameter", "fail"),
}
# Validators of settings raise these. Elsewhere they are caught, and never printed.
_SETTINGS = ("auth_app/settings.py", "course_app/settings.py", "shared/settings.py")
# The kit's own pages list its other messages: docs/reference/kit.md.
_FILES = ("auth_app", "course_app", "shared", "flask_resource_server/tokens/keys.py")


@cache
def operator_messages() -> frozenset[str]:
    """Return the messages, with `...` for what varies."""
    texts = {text for path in _sources() for text in _messages(path) if text.strip(".: ")}
    general = next(text for text in texts if text.startswith("There is no ... ..."))
    kinds = {general.replace("...", kind, 1) for kind in ("user", "client", "session")}
    return frozenset(texts - {general} | kinds)


def _sources() -> Iterator[Path]:
    for name in _FILES:
        path = ROOT / name
        yield from [path] if path.suffix else path.rglob("*.py")


def _messages(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    kinds = _EXCEPTIONS | ({"ValueError"} if str(path.relative_to(ROOT)) in _SETTINGS else set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1] in kinds:
            yield _text(node.args[0])
        if isinstance(node, ast.FunctionDef) and node.name == "describe":
            yield from (_text(one.value) for one in ast.walk(node) if isinstance(one, ast.Return))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NOT_PUBLISHED":
            yield _text(node.value).replace("{}", "...")


def _text(node: ast.expr | None) -> str:
    """Return a text with `...` for what varies, or an empty string for other expressions."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return ""
