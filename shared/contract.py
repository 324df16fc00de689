"""Hold a service to its openapi.yml: what a client sends must be what the document says."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from flask import Flask, current_app, request
from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind
from werkzeug.exceptions import UnsupportedMediaType

from flask_resource_server import __version__
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


class Schema:
    """A schema of the document, without references."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._validator = Draft202012Validator(schema)
        members = schema.get("properties", {}).items()
        # The members that are lists: a form repeats them.
        self.lists = {name for name, member in members if member.get("type") == "array"}

    def find_fault(self, value: object) -> ValidationError | None:
        """Return the first thing in `value` that is refused, None if there is none."""
        try:
            self._validator.validate(value)  # not `iter_errors`, which makes an exception of each fault first
        except ValidationError as error:
            return error
        return None

    def check(self, value: object, name: str = "") -> None:
        """Raise `InvalidRequest` if a body is refused, or a parameter called `name`."""
        if error := self.find_fault(value):
            raise InvalidRequest(self._describe(error, name))

    def _describe(self, error: ValidationError, name: str) -> str:
        keyword = str(error.schema_path[-1])
        if keyword == "additionalProperties":
            at = _find(self._schema, error.schema_path[:-1])
            return f"A parameter is not known; known are {', '.join(at['properties'])}."
        if isinstance(error.kind, ValidationErrorKind.Required):
            name = error.kind.property
        elif error.instance_path:
            name = str(error.instance_path[-1])
        sentence = _SENTENCES.get(keyword, "The parameter {} is not as the documentation says.")
        return sentence.format(name) if name else "The request body must be an object."


class Contract:
    """An OpenAPI 3.1 document, and the schemas in it."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.load(path.read_text(), SafeLoader)
        # Both are called with few different arguments: pointers into the document, and Flask's rules.
        self.schema = cache(self._read_schema)
        self.operation = cache(self._find_operation)

    def _read_schema(self, *pointer: str) -> Schema:
        """Return the schema at the reference tokens of a JSON pointer (RFC 6901)."""
        return Schema(self._resolve(_find(self.document, pointer)))

    def _find_operation(self, rule: str, method: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the operation of a rule and a method, and the pointer to it."""
        pointer = ("paths", path_of(rule), method.lower().replace("head", "get"))
        return _find(self.document, pointer), pointer

    def _resolve(self, node: Any) -> Any:
        """Put what they stand for in the place of references: no validator then has to look them up."""
        if isinstance(node, dict):
            if "$ref" in node:
                return self._resolve(_find(self.document, node["$ref"].removeprefix("#/").split("/")))
            return {name: self._resolve(value) for name, value in node.items()}
        return [self._resolve(value) for value in node] if isinstance(node, list) else node


def _find(node: Any, pointer: Iterable[str | int]) -> Any:
    for name in pointer:
        node = node[int(name) if isinstance(node, list) else name]
    return node


def init_app(app: Flask) -> None:
    """Read the `openapi.yml` in the package of `app`, and set its version to that of the code."""
    contract = Contract(Path(app.root_path) / "openapi.yml")
    contract.document["info"]["version"] = __version__
    app.extensions["contract"] = contract


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
    schema = get_contract().schema(*pointer, "requestBody", "content", media_type, "schema")
    body: Any = decode_json() if media_type == "application/json" else decode_form(schema.lists)
    schema.check(body)
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
        get_contract().schema(*pointer, "parameters", str(index), "schema").check(values[name], name)
    return values


def _operation() -> tuple[dict[str, Any], tuple[str, ...]]:
    assert request.url_rule, "only a view has an operation"
    return get_contract().operation(request.url_rule.rule, request.method)


def _convert(text: str, kind: str) -> str | int:
    return int(text) if kind == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text) else text
