"""Parse the query and form parameters of `/authorize` and `/logout` (RFC 6749 section 3.1)."""

from collections.abc import Iterable
from urllib.parse import parse_qs

from shared.bodies import MAXIMUM_FIELDS
from shared.errors import InvalidRequest

Parameters = dict[str, list[str]]


def parse_parameters(query: str) -> Parameters:
    """Return all values of each parameter. A parameter without a value counts as omitted.

    Raises `InvalidRequest`.
    """
    try:
        return parse_qs(query, errors="strict", max_num_fields=MAXIMUM_FIELDS)
    except ValueError:
        raise InvalidRequest("The parameters are not form-encoded UTF-8.") from None


def take_single(parameters: Parameters, names: Iterable[str]) -> dict[str, str]:
    """Return the values of the named parameters. Raises `InvalidRequest` if one is repeated."""
    found = {name: parameters[name] for name in names if name in parameters}
    if any(len(values) > 1 for values in found.values()):
        raise InvalidRequest("A parameter is repeated.")
    return {name: values[0] for name, values in found.items()}
