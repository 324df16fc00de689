"""Generate docs/reference/settings.md and .env.example from the settings classes.

A comment `# == tokens and sessions` in a class begins a group of settings.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

import flask_resource_server.settings as kit
from auth_app.settings import AuthSettings
from course_app.settings import CourseSettings
from docs.generate.templates import ROOT, fill
from flask_resource_server.tokens.issuers import Issuer
from shared.settings import Settings, Unit

_HEADING_OR_FIELD = re.compile(r"^    (?:# == (.+)|(\w+):)", re.MULTILINE)

GUNICORN = {
    "workers": "One per core.",
    "threads": "More threads make no request faster, and the slowest ones slower.",
    "limit_request_line": "Bytes of the request line. Keep it equal to the proxy's limit.",
    "graceful_timeout": "Seconds that a worker has to finish its requests at a reload or stop.",
    "forwarded_allow_ips": "Addresses whose `X-Forwarded-Proto` counts: none, as no response depends on it.",
    "preload_app": "Load the code once for all workers. New code needs a restart, not a reload.",
}


def settings_page() -> str:
    """Return the text of docs/reference/settings.md."""
    return fill(
        "settings.md.in",
        both=_service("Both services", Settings),
        auth_app=_service("auth_app", AuthSettings),
        course_app=_service("course_app", CourseSettings),
        kit=_kit_table(),
        gunicorn=_gunicorn_rows(),
    )


def env_example() -> str:
    """Return the text of .env.example."""
    lines = [
        "# Settings for development: copy this file to .env. docs/reference/settings.md explains them.",
        "# Both services read .env. Put no private key into it: course_app refuses to start with one.",
    ]
    for service, kind in (
        ("Both services", Settings),
        ("auth_app", AuthSettings),
        ("course_app", CourseSettings),
    ):
        for group, names in _groups(kind).items():
            lines += ["", f"# {service}: {group}"]
            lines += [
                f"#{name.upper()}={_spell(kind.model_fields[name].default)}"
                for name in names
                if not name.startswith("jwt_private_key")
            ]
    return "\n".join(lines) + "\n"


def _groups(kind: type[Settings]) -> dict[str, list[str]]:
    """Return the names of the settings of a class, by group, in the order of its source."""
    found: dict[str, list[str]] = {}
    for heading, name in _HEADING_OR_FIELD.findall(inspect.getsource(kind)):
        if heading:
            names = found.setdefault(heading, [])
        elif name in kind.model_fields and not found:
            raise ValueError(
                f"{kind.__name__}.{name} is above the first group: put a comment `# == group` there"
            )
        elif name in kind.model_fields:
            names.append(name)
    return found


def _service(title: str, kind: type[Settings]) -> str:
    """Return a section with a table for each group."""
    parts = [f"## {title}\n"]
    for group, names in _groups(kind).items():
        rows = ((name.upper(), kind.model_fields[name]) for name in names)
        cells = (
            (name, _spell(field.default), _values(name, field), field.description or "")
            for name, field in rows
        )
        parts += [f"### {title}: {group}\n", _table(cells)]
    return "\n".join(parts)


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = ["| Setting | Default | Value | Meaning |", "|---|---|---|---|"]
    for name, default, values, meaning in rows:
        lines.append(f"| `{name}` | {f'`{default}`' if default else ''} | {values} | {meaning} |")
    return "\n".join(lines) + "\n"


def _spell(default: object) -> str:
    """Return a default as a variable would have it."""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def _values(name: str, field: FieldInfo) -> str:
    """Return what a setting takes: its choices, its unit and limits, or its type."""
    kind = next((one for one in get_args(field.annotation) if one is not type(None)), field.annotation)
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if get_origin(field.annotation) is tuple:
        return "list"
    if kind is Path:
        return "folder" if str(field.description).startswith("Folder") else "file"
    if kind is bool:
        return "`true`, `false`"
    if kind is int:
        units = [one.name for one in field.metadata if isinstance(one, Unit)]
        return ", ".join([*units, *_limits(field.metadata)]) or "number"
    return "URL" if name.endswith("URL") or name in {"ISSUER", "RESOURCE"} else "text"


def _limits(metadata: Iterable[Any]) -> Iterator[str]:
    """Yield the lowest and the highest value that an integer may have, unless it is only above zero."""
    lowest: Any = None
    highest: Any = None
    for one in metadata:
        lowest = one.ge if isinstance(one, Ge) else cast("int", one.gt) + 1 if isinstance(one, Gt) else lowest
        highest = (
            one.le if isinstance(one, Le) else cast("int", one.lt) - 1 if isinstance(one, Lt) else highest
        )
    if highest is not None:
        yield f"at most {highest}" if lowest is None else f"{lowest} to {highest}"
    elif lowest != 1:
        yield f"{lowest} or more"


def _kit_table() -> str:
    """Return the settings of the kit, which are described in docstrings below its dataclasses' fields."""
    service, issuer = _docstrings(kit.Settings), _docstrings(Issuer)
    rows = [
        ("RESOURCE", "required", service["resource"]),
        ("ISSUER", "required", issuer.pop("url")),
        ("ISSUERS", "", service["issuers"]),
    ]
    for name, meaning in issuer.items():
        default = Issuer.__dataclass_fields__[name].default
        default = "RESOURCE" if name == "audience" else default  # the service's own URL
        rows.append((name.upper(), "" if default is None else f"`{default}`", meaning))
    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows]
    return "\n".join(lines) + "\n"


def _docstrings(kind: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(following, ast.Expr):
            found[ast.unparse(node.target)] = " ".join(ast.literal_eval(following.value).split())
    return found


def _gunicorn_rows() -> str:
    values = {}
    for node in ast.parse((ROOT / "gunicorn.conf.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            values[ast.unparse(node.targets[0])] = node.value.value
    rows = (f"| `{name}` | `{values[name]!r}` | {meaning} |" for name, meaning in GUNICORN.items())
    return "\n".join(rows) + "\n"
