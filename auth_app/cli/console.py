"""Read the input and print the output of commands: tables for users, JSON for programs, one-line errors.

Exit codes: 0 for success, 1 for a refused command, 2 for wrong usage.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup, ScriptInfo
from sqlalchemy.exc import SQLAlchemyError

from auth_app.database import db
from flask_resource_server.exceptions import ConfigurationError
from shared.database import lift_statement_timeout
from shared.errors import ApiError

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def examples(*arguments: str) -> str:
    """Return the end of a command's help: examples of its use, which docs/reference/commands.md shows too."""
    title = "Example:" if len(arguments) == 1 else "Examples:"
    lines = (line if "flask" in line else f"flask --app wsgi_auth {line}" for line in arguments)
    return "\b\n" + "\n  ".join([title, *lines])


class Group(AppGroup):
    """A group of commands, which turns expected exceptions into one-line errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with ctx.ensure_object(ScriptInfo).load_app().app_context():
                lift_statement_timeout(db.engine)
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(error.description) from None
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None
        except SQLAlchemyError as error:
            raise click.ClickException(
                f"the database failed ({type(error).__name__}): check AUTH_DATABASE_URL, and run "
                "`flask --app wsgi_auth db upgrade`"
            ) from None


def require(thing: Any, kind: str, name: object) -> Any:
    """Return the result of a lookup by `name`, or end the command with an error if it is None.

    `kind` is the singular of the command group's name: "user" for `users`.
    """
    if thing is None:
        raise click.ClickException(f"There is no {kind} {name}: run `flask --app wsgi_auth {kind}s list`.")
    return thing


class EachChoice(click.Choice[str]):
    """A choice for a repeatable option, with a clear error for several values in one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value. Raises `click.BadParameter`."""
        if param and isinstance(value, str) and len(value.replace(",", " ").split()) > 1:
            self.fail(f"repeat {param.opts[0]} for each value", param, ctx)
        return super().convert(value, param, ctx)


def read_secret(prompt: str) -> str:
    """Prompt for a secret without echo, or read the first line of standard input if it is no terminal."""
    if sys.stdin.isatty():
        secret: str = click.prompt(prompt, hide_input=True, confirmation_prompt=True)
        return secret
    return sys.stdin.readline().rstrip("\r\n")


def show(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Print rows as a table, or as a JSON list."""
    rows = list(rows)
    if as_json:
        click.echo(json.dumps(rows, default=str))
        return
    cells = [list(columns), *([_format_value(column, row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Mapping[str, Any], as_json: bool) -> None:
    """Print one row, with a line for each column, or as a JSON object."""
    if as_json:
        click.echo(json.dumps(row, default=str))
        return
    width = max(map(len, row))
    for column, value in row.items():
        click.echo(f"{column.ljust(width)}  {_format_value(column, value)}")


def _format_value(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    formats: dict[type, Callable[[Any], str]] = {
        list: lambda words: " ".join(words) or "none",
        bool: lambda yes: "yes" if yes else "no",
    }
    return formats.get(type(value), str)(value)
