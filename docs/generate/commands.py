"""Generate docs/reference/commands.md from the commands and scripts themselves."""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import click
from flask import Flask

from auth_app import cli as auth_cli
from course_app import cli as course_cli
from docs.generate.templates import ROOT, fill
from flask_resource_server import explain_token

# What the examples of a command lack in its help.
LOG_IN = """\
TOKEN=$(curl -s http://127.0.0.1:8081/token \\
  -d username=student1 -d password=password123 |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
echo "$TOKEN" | flask --app wsgi_course explain-token"""
# Refused where there are keys already, as where a test runs this page.
ONCE = {"keys generate"}
_CODE = re.compile(
    r"(?<![\w`-])(--[a-z][a-z-]*|[A-Z]+(?:_[A-Z]+)+|scripts/[a-z-]+(?: --[a-z]+)?|auth_app)(?![\w`/])"
)


def commands_page() -> str:
    """Return the text of docs/reference/commands.md."""
    return fill(
        "commands.md.in",
        auth_app=_section("auth_app", "wsgi_auth", _commands(auth_cli)),
        course_app=_section("course_app", "wsgi_course", _commands(course_cli)),
        kit=_section("Every service with the kit", "APP", _commands(explain_token, server=None)),
        scripts="\n".join(_scripts()),
    )


def _commands(module: Any, **arguments: Any) -> Iterable[click.Command]:
    """Return the commands that a module gives to an application."""
    app = Flask("commands")
    module.init_app(app, **arguments)
    return app.cli.commands.values()


def _section(title: str, app: str, commands: Iterable[click.Command]) -> str:
    parts = [f"## {title}\n"]
    for command in commands:
        parts += _group(app, command) if isinstance(command, click.Group) else _command(app, "", command)
    return "\n".join(parts)


def _group(app: str, group: click.Group) -> Iterator[str]:
    yield f"### {group.name}\n\n{_mark_code(group.help or '')}\n"
    for command in group.commands.values():
        yield from _command(app, f"{group.name} ", command)


def _command(app: str, prefix: str, command: click.Command) -> Iterator[str]:
    name = f"{prefix}{command.name}"
    level = "####" if prefix else "###"
    options = [one for one in command.params if isinstance(one, click.Option)]
    usage = [
        piece
        for piece in command.collect_usage_pieces(click.Context(command))
        if options or piece != "[OPTIONS]"
    ]
    yield f"{level} {name}\n\n`{' '.join(['flask --app', app, name, *usage])}`\n"
    yield _mark_code(inspect.cleandoc(command.help or "")) + "\n"
    if options:
        yield "| Option | Meaning |\n|---|---|\n" + "\n".join(map(_option, options)) + "\n"
    yield f"```{'text' if name in ONCE else 'sh'}\n{_examples(command)}\n```\n"


def _option(option: click.Option) -> str:
    """Return the row of an option: its names and value, and its meaning with the choices and the default."""
    record = option.get_help_record(click.Context(click.Command("help")))
    assert record
    names, meaning = record
    if isinstance(option.type, click.Choice):
        names = names.partition(" [")[0]
        choices = ", ".join(f"`{choice}`" for choice in option.type.choices)
        meaning = meaning.replace("  [default", f" One of {choices}.  [default")
        meaning += "" if choices in meaning else f" One of {choices}."
    meaning = re.sub(r"\s+\[default: ([^;\]]+).*\]", r" Default: `\1`.", meaning)
    return f"| `{names}` | {_mark_code(meaning)} |"


def _examples(command: click.Command) -> str:
    """Return the examples at the end of a command's help, without their title."""
    lines = inspect.cleandoc((command.epilog or "").replace("\b", "")).splitlines()
    return "\n".join(line.strip() for line in lines[1:]) or LOG_IN


def _mark_code(text: str) -> str:
    """Return the text of a help or a comment with options, settings and scripts marked as code."""
    return _CODE.sub(r"`\1`", text)


def _scripts() -> Iterator[str]:
    """Yield what each script is for, which is its first comment."""
    for path in sorted((ROOT / "scripts").iterdir()):
        lines = path.read_text().splitlines()
        if lines[0].startswith("#!"):
            end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
            comment = "\n".join(line.removeprefix("#").strip() for line in lines[1:end])
            yield f"### scripts/{path.name}\n\n{_mark_code(comment)}\n"
