"""Talk to whoever runs a command: tables for people, JSON for programs, and one line for what went wrong.

Exit codes: 0 done, 1 refused, 2 called wrongly.
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
    """Commands that end with one line where they are refused."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
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
                f"the database failed ({type(error).__name__}): look at AUTH_DATABASE_URL, and run "
                "`flask --app wsgi_auth db upgrade`"
            ) from None


def require(thing: Any, kind: str, name: object) -> Any:
    """Return a thing that was looked for by its name; ends the command where there is none.

    `kind` is what the commands of a group manage: "user" for `users`.
    """
    if thing is None:
        raise click.ClickException(f"There is no {kind} {name}: `{kind}s list` shows which there are.")
    return thing


class EachChoice(click.Choice[str]):
    """One of some values; an option that is given once for each of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value. Raises `click.BadParameter`."""
        if param and isinstance(value, str) and len(value.replace(",", " ").split()) > 1:
            self.fail(f"give {param.opts[0]} once for each value", param, ctx)
        return super().convert(value, param, ctx)


def read_secret(prompt: str) -> str:
    """Ask for a secret without showing it, or read it from standard input: its first line."""
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
    cells = [list(columns), *([_spell(column, row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Mapping[str, Any], as_json: bool) -> None:
    """Print what is known of one thing, a line for each, or as a JSON object."""
    if as_json:
        click.echo(json.dumps(row, default=str))
        return
    width = max(map(len, row))
    for column, value in row.items():
        click.echo(f"{column.ljust(width)}  {_spell(column, value)}")


def _spell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    spellings: dict[type, Callable[[Any], str]] = {list: " ".join, bool: lambda yes: "yes" if yes else "no"}
    return spellings.get(type(value), str)(value)
