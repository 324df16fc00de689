"""Ask the database for its query plans, and find statements that read a whole table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

Statements = list[tuple[str, Any]]


@contextmanager
def recorded(engine: sa.Engine) -> Iterator[Statements]:
    """Yield a list to which every executed statement is added, with its parameters."""
    statements: Statements = []

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)


def find_scans(engine: sa.Engine, statements: Statements, table: str) -> list[str]:
    """Return the statements that read a table from one end to the other."""
    explain, scan = {
        "sqlite": ("EXPLAIN QUERY PLAN ", f"SCAN {table}"),
        "postgresql": ("EXPLAIN ", f"Seq Scan on {table}"),
    }[engine.dialect.name]
    scans = []
    with engine.connect() as connection:
        for statement, parameters in statements:
            if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}:
                plan = "\n".join(
                    str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters)
                )
                if scan in plan:
                    scans.append(f"{statement}\n{plan}")
    return scans
