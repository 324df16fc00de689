"""Write Markdown for docs/generate/http.py: tables, examples, anchors, and the limits of a value."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def anchor_of(method: str, path: str) -> str:
    """Return the anchor that GitHub and MkDocs give to the title of an operation."""
    return "".join(c for c in f"{method}-{path}".lower() if c.isalnum() or c in "-_")


def limits_of(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the limits of a value, its format and its default."""
    for low, high, unit in (
        ("minLength", "maxLength", " characters"),
        ("minimum", "maximum", ""),
        ("minItems", "maxItems", " items"),
    ):
        if high in schema and schema.get(low):
            yield f"{schema[low]} to {schema[high]}{unit}"
        elif high in schema:
            yield f"at most {schema[high]}{unit}"
        elif schema.get(low, 0) > 1:
            yield f"at least {schema[low]}{unit}"
    if schema.get("format") in {"uuid", "uri"}:
        yield "UUID" if schema["format"] == "uuid" else "URL"
    if schema.get("default") not in {None, ""}:
        yield f"default `{schema['default']}`"


def write_table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield a table, without the columns in which no row has anything."""
    cells = [["yes" if cell is True else str(cell or "") for cell in row] for row in rows]
    if not cells:
        return
    used = [index for index in range(len(head)) if any(row[index] for row in cells)]
    yield ""
    yield "| " + " | ".join(head[index] for index in used) + " |"
    yield "|" + "---|" * len(used)
    for row in cells:
        row[0] = row[0] if row[0].startswith("`") else f"`{row[0]}`"
        yield "| " + " | ".join(row[index].replace("|", "\\|") for index in used) + " |"


def write_json(example: object) -> Iterator[str]:
    """Yield an example in a block."""
    yield from ("", "```json", json.dumps(example, indent=2, ensure_ascii=False), "```")
