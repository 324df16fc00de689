"""Parse JSON that every parser understands alike (RFC 8259 section 4, RFC 8725 section 2.4)."""

import json
from collections.abc import Iterable
from typing import Any, NoReturn


class RepeatedMember(ValueError):
    """An object has two members of one name, of which each parser may choose another."""


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8. Raises `ValueError`, and `RepeatedMember`, which is one.

    What Python alone accepts is refused too: other encodings, a byte order mark, NaN and its like, lone
    surrogates, and what is nested too deeply.
    """
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:  # the only way to spell a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def unique_members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return members as a dictionary. Raises `RepeatedMember`."""
    pairs = list(pairs)
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RepeatedMember("a member is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_refuse_constant)
