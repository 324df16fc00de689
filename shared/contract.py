"""Validate request bodies and query parameters against the schemas in the service's openapi.yml."""

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
    from yaml import CSafeLoader as SafeLoader  # ten times as fast; needs libyaml
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

# The sentence for each keyword of JSON Schema. `{}` is a parameter name of the document, never the client's.
_SENTENCES = {
    "required": "The parameter {} is missing.",
    "type": "The parameter {} has the wrong type.",
    "not": "The parameter {} contains characters that are not allowed.",
    "minLength": "The parameter {} is too short.",
    "maxLength": "The parameter {} is too long.",
    "minimum": "The parameter {} is too small.",
    "maximum": "The parameter {} is too large.",
}


class Schema:
    """A schema of the document, with its references resolved. Thread-safe."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._validator = Draft202012Validator(schema)
        members = schema.get("properties", {}).items()
        # Members that are lists, which a form sends as repeated parameters.
        self.lists = {name for name, member in members if member.get("type") == "array"}

    def find_fault(self, value: object) -> ValidationError | None:
        """Return the first error in `value`, or None if it is valid."""
        try:
            # Not `iter_errors`, which creates an exception for each error before it returns the first.
            self._validator.validate(value)
        except ValidationError as error:
            return error
        return None

    def check(self, value: object, name: str = "") -> None:
        """Raise `InvalidRequest` if `value` is not valid: a body, or the parameter called `name`."""
        if error := self.find_fault(value):
            raise InvalidRequest(self._describe(error, name))

    def _describe(self, error: ValidationError, name: str) -> str:
        keyword = str(error.schema_path[-1])
        if keyword == "additionalProperties":
            at = _find(self._schema, error.schema_path[:-1])
            return f"A parameter is unknown. The known ones are {', '.join(at['properties'])}."
        if isinstance(error.kind, ValidationErrorKind.Required):
            name = error.kind.property
        elif error.instance_path:
            name = str(error.instance_path[-1])
        sentence = _SENTENCES.get(keyword, "The parameter {} is not valid. See the API documentation.")
        return sentence.format(name) if name else "The request body must be an object."


class Contract:
    """An OpenAPI 3.1 document, and the schemas in it."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.load(path.read_text(), SafeLoader)
        # The caches stay small: the arguments are pointers into the document and Flask's URL rules.
        self.schema = cache(self._read_schema)
        self.operation = cache(self._find_operation)

    def _read_schema(self, *pointer: str) -> Schema:
        """Return the schema at a JSON pointer (RFC 6901), given as its reference tokens."""
        return Schema(self._resolve(_find(self.document, pointer)))

    def _find_operation(self, rule: str, method: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the operation for a Flask rule and an HTTP method, and the pointer to it."""
        pointer = ("paths", path_of(rule), method.lower().replace("head", "get"))
        operation: dict[str, Any] = _find(self.document, pointer)
        return {**operation, "parameters": self._resolve(operation.get("parameters", []))}, pointer

    def _resolve(self, node: Any) -> Any:
        """Return `node` with every `$ref` replaced by its target, so that no validator has to resolve it."""
        if isinstance(node, dict):
            if "$ref" in node:
                return self._resolve(_find(self.document, node["$ref"].removeprefix("#/").split("/")))
            return {name: self._resolve(value) for name, value in node.items()}
        return [self._resolve(value) for value in node] if isinstance(node, list) else node


def _find(document: Any, pointer: Iterable[str | int]) -> Any:
    """Return the node of a document at a JSON pointer. References on the way are followed."""
    node = document
    for name in pointer:
        node = node[int(name) if isinstance(node, list) else name]
        if isinstance(node, dict) and "$ref" in node:
            node = _find(document, node["$ref"].removeprefix("#/").split("/"))
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
    """Return a Flask rule as an OpenAPI path: `/things/<int:thing_id>` becomes `/things/{thing_id}`."""
    return re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule)


def read_body() -> dict[str, Any]:
    """Decode the request's body and validate it against the schema of its operation.

    Raises `InvalidRequest`, or `UnsupportedMediaType` for a Content-Type that the operation does not accept.
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
    """Return the query parameters of the operation: integers as `int`, and absent ones as their default.

    Parameters that the operation does not have are ignored. Raises `InvalidRequest`, also for a repeated one.
    """
    operation, pointer = _operation()
    parameters = [
        (index, parameter)
        for index, parameter in enumerate(operation["parameters"])
        if parameter["in"] == "query"
    ]
    if not request.query_string:
        return {parameter["name"]: parameter["schema"]["default"] for _, parameter in parameters}
    values = {}
    for index, parameter in parameters:
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
    assert request.url_rule, "only requests that match a rule have an operation"
    return get_contract().operation(request.url_rule.rule, request.method)


def _convert(text: str, kind: str) -> str | int:
    return int(text) if kind == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text) else text
