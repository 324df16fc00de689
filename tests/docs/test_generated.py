"""Generated pages are up to date with the code, and complete."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask

from auth_app import cli as auth_cli
from auth_app.settings import AuthSettings
from course_app import cli as course_cli
from course_app.settings import CourseSettings
from docs.generate.pages import PAGES
from tests.servers import ROOT

FIELDS = {**AuthSettings.model_fields, **CourseSettings.model_fields}


@pytest.mark.parametrize("name", PAGES)
def test_generated_file_is_current(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name](), "out of date: run scripts/docs generate"


def test_page_names_every_setting_with_its_default() -> None:
    services = PAGES["docs/reference/settings.md"]().partition("## A service that uses the kit")[0]
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \|(.*?)\|", services, re.MULTILINE))

    assert set(rows) == {name.upper() for name in FIELDS}
    for name, field in FIELDS.items():
        default = field.default
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        text = text.lower() if isinstance(default, bool) else text
        assert rows[name.upper()].strip() == ("" if default in (None, ()) else f"`{text}`")


@pytest.mark.parametrize("name", FIELDS)
def test_setting_is_described_in_sentences(name: str) -> None:
    description = FIELDS[name].description or ""

    assert re.fullmatch(r"[A-Z`].*\.", description), name
    assert isinstance(FIELDS[name].default, bool | int | Path) or len(description) > 40


def every_command() -> Iterator[tuple[str, click.Command]]:
    for module, entry in ((auth_cli, "wsgi_auth"), (course_cli, "wsgi_course")):
        app = Flask("commands")
        module.init_app(app)
        for name, command in app.cli.commands.items():
            if isinstance(command, click.Group):
                yield from ((f"{entry} {name} {one}", member) for one, member in command.commands.items())
            else:
                yield f"{entry} {name}", command


COMMANDS = list(every_command())


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_command_and_its_options_are_explained_with_an_example(name: str, command: click.Command) -> None:
    example = re.compile(rf"^  .*flask --app {name}\b", re.MULTILINE)

    assert re.fullmatch(r"[A-Z].*\.", (command.help or "").splitlines()[0])
    assert example.search(command.epilog or "")
    for option in command.params:
        assert not isinstance(option, click.Option) or re.fullmatch(r"[A-Z].*\.", option.help or ""), option
