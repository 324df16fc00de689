"""Hold a service to its openapi.yml: what a client sends must be what the document says."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from flask import Flask, current_app, request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from shared.bodies import decode_form, decode_json
from shared.errors import InvalidRequest

try:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast, where libyaml came along
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

# A sentence for a keyword of JSON Schema; the name in it is the document's own.
_SENTENCES = {
    "required": "The parameter {} is missing.",
    "type": "The parameter {} has the wrong type.",
    "not": "The parameter {} has characters that are not allowed.",
    "minLength": "The parameter {} is too short.",
    "maxLength": "The parameter {} is too long.",
    "minimum": "The parameter {} is too small.",
    "maximum": "The parameter {} is too large.",
}


class Contract:
    """An OpenAPI 3.1 document, and checks of values against the schemas in it."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.load(path.read_text(), SafeLoader)
        self._validators: dict[tuple[str, ...], Draft202012Validator] = {}
        # Return the operation of a Flask rule and a method, and the pointer to it.
        self.operation = cache(self._find_operation)

    def check(self, value: object, *pointer: str) -> ValidationError | None:
        """Return the first thing in `value` that the schema at `pointer` refuses, None if there is none.

        `pointer` holds the reference tokens of a JSON pointer into the document (RFC 6901).
        """
        return next(self._validator(pointer).iter_errors(value), None)

    def lists(self, *pointer: str) -> set[str]:
        """Return the names of the members that the schema at `pointer` has for lists: a form repeats them."""
        schema = cast("dict[str, Any]", self._validator(pointer).schema)
        members = schema["properties"].items()
        return {name for name, schema in members if schema.get("type") == "array"}

    def _find_operation(self, rule: str, method: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        pointer = ("paths", path_of(rule), method.lower().replace("head", "get"))
        return self._find(pointer), pointer

    def _validator(self, pointer: tuple[str, ...]) -> Draft202012Validator:
        if pointer not in self._validators:
            self._validators[pointer] = Draft202012Validator(self._resolve(self._find(pointer)))
        return self._validators[pointer]

    def _find(self, pointer: Iterable[str]) -> Any:
        node: Any = self.document
        for name in pointer:
            node = node[int(name) if isinstance(node, list) else name]
        return node

    def _resolve(self, node: Any) -> Any:
        """Put what they stand for in the place of references: no validator then has to look them up."""
        if isinstance(node, dict):
            if "$ref" in node:
                return self._resolve(self._find(node["$ref"].removeprefix("#/").split("/")))
            return {name: self._resolve(value) for name, value in node.items()}
        return [self._resolve(value) for value in node] if isinstance(node, list) else node


def init_app(app: Flask) -> None:
    """Read the openapi.yml that stands beside the package of `app`."""
    app.extensions["contract"] = Contract(Path(app.root_path) / "openapi.yml")


def get_contract() -> Contract:
    """Return the contract of the current application."""
    contract: Contract = current_app.extensions["contract"]
    return contract


def path_of(rule: str) -> str:
    """Spell a Flask rule as a path of OpenAPI: `/things/<int:thing_id>` is `/things/{thing_id}`."""
    return re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule)


def read_body() -> dict[str, Any]:
    """Decode the request's body and check it against the schema of its operation.

    Raises `InvalidRequest`, or `UnsupportedMediaType` for a Content-Type that the operation does not name.
    """
    operation, pointer = _operation()
    media_type = request.mimetype
    if media_type not in operation["requestBody"]["content"]:
        raise UnsupportedMediaType
    pointer = (*pointer, "requestBody", "content", media_type, "schema")
    is_json = media_type == "application/json"
    body: Any = decode_json() if is_json else decode_form(get_contract().lists(*pointer))
    _refuse(get_contract().check(body, *pointer))
    return cast("dict[str, Any]", body)


def read_query() -> dict[str, Any]:
    """Read the query parameters of the operation: whole numbers as `int`, and the default of what is absent.

    Raises `InvalidRequest`, for a repeated parameter too; what the document does not name is ignored.
    """
    operation, pointer = _operation()
    if not request.query_string:
        return {parameter["name"]: parameter["schema"]["default"] for parameter in operation["parameters"]}
    values = {}
    for index, parameter in enumerate(operation["parameters"]):
        name, schema = parameter["name"], parameter["schema"]
        given = request.args.getlist(name)
        if len(given) > 1:
            raise InvalidRequest(f"The parameter {name} is repeated.")
        if not given:
            values[name] = schema["default"]
            continue
        values[name] = _convert(given[0], schema["type"])
        _refuse(get_contract().check(values[name], *pointer, "parameters", str(index), "schema"), name)
    return values


def _operation() -> tuple[dict[str, Any], tuple[str, ...]]:
    assert request.url_rule, "only a view has an operation"
    return get_contract().operation(request.url_rule.rule, request.method)


def _convert(text: str, kind: str) -> str | int:
    return int(text) if kind == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _refuse(error: ValidationError | None, name: str = "") -> None:
    if error is None:
        return
    keyword = str(error.validator)
    if keyword == "required":
        required = cast("list[str]", error.validator_value)
        name = next(name for name in required if name not in cast("dict[str, object]", error.instance))
    elif keyword == "additionalProperties":
        known = ", ".join(cast("dict[str, Any]", error.schema)["properties"])
        raise InvalidRequest(f"A parameter is not known; known are {known}.")
    elif error.path:
        name = str(error.path[-1])
    sentence = _SENTENCES.get(keyword, "The parameter {} is not as the documentation says.")
    raise InvalidRequest(sentence.format(name) if name else "The request body must be an object.")
