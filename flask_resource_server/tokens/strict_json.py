"""Parse JSON strictly: only what every parser reads alike (RFC 8259 section 4, RFC 8725 section 2.4)."""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

MAXIMUM_DEPTH = 100


class RepeatedMember(ValueError):
    """An object has two members of the same name; parsers differ in which one they use."""


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8. Raises `ValueError`, or its subclass `RepeatedMember`.

    Refuses what only Python accepts: other encodings, a byte order mark, NaN and infinity, and lone
    surrogates. Also refuses values nested more than `MAXIMUM_DEPTH` deep, on which other code would fail.
    """
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:  # only an escape can produce a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if data.count(b"{") + data.count(b"[") > MAXIMUM_DEPTH and _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(MAXIMUM_DEPTH + 1):
        lists = [
            list(item.values()) if isinstance(item, dict) else item for item in layer if _is_nested(item)
        ]
        layer = [item for items in lists for item in items]
    return bool(layer)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def unique_members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members as a dictionary. Raises `RepeatedMember`."""
    pairs = list(pairs)
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RepeatedMember("a member is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_refuse_constant)
