"""Generate docs/reference/http.md from the contracts of both services."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import yaml

from docs.generate.http_markdown import anchor_of, limits_of, write_json, write_table
from docs.generate.templates import ROOT, fill

Node = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
# Their schema is described once for both services.
_ERRORS = {"Error", "TokenError"}
# How the descriptions of parameters begin by which clients authenticate.
_CLIENT = "Client authentication"


def http_page() -> str:
    """Return the text of docs/reference/http.md."""
    auth, course = (_load(name) for name in ("auth_app", "course_app"))
    both = auth["paths"].keys() & course["paths"].keys()
    return fill(
        "http.md.in",
        both=_Section(course, both).render(),
        auth_app=_Section(auth, auth["paths"].keys() - both).render(),
        course_app=_Section(course, course["paths"].keys() - both).render(),
        client_authentication=_Section(auth, ()).client_authentication(),
    )


def _load(name: str) -> Node:
    document: Node = yaml.safe_load((ROOT / name / "openapi.yml").read_text())
    return document


class _Section:
    """Some paths of a contract."""

    def __init__(self, document: Node, paths: Collection[str]) -> None:
        self._document = document
        self._operations = [
            (method, path, item[method], item.get("parameters", []))
            for path, item in document["paths"].items()
            for method in _METHODS
            if path in paths and method in item
        ]
        # Objects of several operations have a section of their own.
        uses = Counter(name for _, _, operation, _ in self._operations for name in self._names_in(operation))
        self._shared = [name for name, count in uses.items() if count > 1 and name not in _ERRORS]

    def render(self) -> str:
        """Return the routes, the operations and the objects."""
        parts = ["| Route | What it does | Authorization |", "|---|---|---|"]
        parts += [
            f"| [`{method.upper()} {path}`](#{anchor_of(method, path)}) | {operation['summary']} "
            f"| {_security(operation)} |"
            for method, path, operation, _ in self._operations
        ]
        for method, path, operation, shared in self._operations:
            parts += ["", f"### `{method.upper()} {path}`", *self._operation(operation, shared)]
        for name in self._shared:
            reference = {"$ref": f"#/components/schemas/{name}"}
            parts += ["", f"### {name}", *self._object(reference, is_response=True)]
            if example := self._example_of_operation(name) or self._example(reference):
                parts += write_json(example)
        return "\n".join(parts)

    def client_authentication(self) -> str:
        """Return the parameters by which clients authenticate, which several operations have."""
        schema = self._document["components"]["schemas"]["PresentedToken"]
        rows = [
            (name, self._type(member), description)
            for name, member in schema["properties"].items()
            if (description := self._find(member)["description"]).startswith(_CLIENT)
        ]
        return "\n".join(write_table(("Field", "Value", "Meaning"), rows))

    def _operation(self, operation: Node, shared: list[Node]) -> Iterator[str]:
        # Whether it is public stands below.
        description = operation["description"].replace("Public. ", "").removesuffix(" Public.")
        yield from ("", f"{operation['summary']}.", "", description)
        yield from ("", f"**Authorization:** {_security(operation)}.")
        parameters = [self._find(one) for one in [*shared, *operation.get("parameters", [])]]
        rows = [
            (one["name"], one["in"], self._type(one["schema"]), one.get("required"), one["description"])
            for one in parameters
        ]
        yield from write_table(("Parameter", "In", "Value", "Required", "Meaning"), rows)
        if body := operation.get("requestBody"):
            yield from self._body(body["content"])
        rows_of_responses = [
            (f"`{status}`", self._describe(response))
            for status, response in self._responses(operation)
            if status != "default"
        ]
        yield from write_table(("Status", "Response"), rows_of_responses)
        for status, response in self._responses(operation):
            if status.startswith("2"):
                yield from self._success(response)

    def _body(self, content: Node) -> Iterator[str]:
        kinds = " or ".join("form" if "form" in kind else "JSON" for kind in content)
        media = list(content.values())[-1]
        yield from ("", f"**Request body:** {kinds}.")
        yield from self._object(media["schema"])
        example = media.get("example") or self._example(media["schema"])
        if example and "JSON" in kinds:
            yield from write_json(example)

    def _success(self, response: Node) -> Iterator[str]:
        for media in response.get("content", {}).values():
            name = _name_of(media["schema"])
            if name and name not in self._shared:
                yield from ("", f"**{name}**")
                yield from self._object(media["schema"], is_response=True)
            example = media.get("example") or self._example(media["schema"])
            if example and name not in self._shared:
                yield from write_json(example)

    def _object(self, schema: Node, *, is_response: bool = False) -> Iterator[str]:
        """Yield a table of the members of an object."""
        schema = self._find(schema)
        rows = []
        is_for_clients = False
        for name, reference in schema.get("properties", {}).items():
            member = self._find(reference)
            if member.get("description", "").startswith(_CLIENT) and not is_response:
                is_for_clients = True
                continue
            required = name in schema.get("required", [])
            rows.append((name, self._type(reference), required, member.get("description", "")))
        if schema.get("description"):
            yield from ("", schema["description"])
        yield from write_table(("Field", "Value", "Always" if is_response else "Required", "Meaning"), rows)
        if is_for_clients:
            yield from ("", "And the parameters of [client authentication](#client-authentication).")

    def _type(self, reference: Node) -> str:
        """Return the type of a value with its limits and its default."""
        name, schema = _name_of(reference), self._find(reference)
        if name in self._shared:
            return f"[{name}](#{name.lower()})"
        if "const" in schema:
            return f"`{json.dumps(schema['const'])}`"
        if "enum" in schema:
            return ", ".join(f"`{choice}`" for choice in schema["enum"])
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        text = " or ".join(self._items(schema) if kind == "array" else kind for kind in kinds)
        return ", ".join([text, *limits_of(schema)])

    def _items(self, schema: Node) -> str:
        return f"list of {self._type(schema['items'])}" if "items" in schema else "list"

    def _example(self, reference: Node) -> Any:
        """Return the example of a schema, made of those of its members if it has none; None without any."""
        schema = self._find(reference)
        if schema.get("examples"):
            return schema["examples"][0]
        made = {
            name: self._example(member)
            for name, member in schema.get("properties", {}).items()
            if self._find(member).get("examples")
        }
        is_whole = set(schema.get("required", [])) <= made.keys()
        return made if made and is_whole else None

    def _example_of_operation(self, name: str) -> Any:
        """Return the example of the first response that has one and contains the object of a name."""
        for _, _, operation, _ in self._operations:
            for _, response in self._responses(operation):
                for media in response.get("content", {}).values():
                    if _name_of(media["schema"]) == name and "example" in media:
                        return media["example"]
        return None

    def _responses(self, operation: Node) -> Iterator[tuple[str, Node]]:
        for status, response in operation["responses"].items():
            yield status, self._find(response)

    def _describe(self, response: Node) -> str:
        """Return what a response means, with a link to its object and the names of its headers."""
        text = response["description"].strip(".")
        for media in response.get("content", {}).values():
            if (name := _name_of(media["schema"])) in self._shared:
                text += f": [{name}](#{name.lower()})"
        headers = ", ".join(f"`{name}`" for name in response.get("headers", {}))
        return f"{text}. Headers: {headers}." if headers else f"{text}."

    def _names_in(self, operation: Node) -> set[str]:
        """Return the names of the schemas of an operation's responses."""
        found = set()
        for _, response in self._responses(operation):
            for media in response.get("content", {}).values():
                found |= {_name_of(media["schema"])}
        return found - {""}

    def _find(self, node: Node) -> Node:
        """Return what a reference stands for."""
        if "$ref" not in node:
            return node
        found: Any = self._document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return self._find(found)


def _name_of(schema: Node) -> str:
    return str(schema["$ref"].rpartition("/")[2]) if "$ref" in schema else ""


def _security(operation: Node) -> str:
    schemes = operation.get("security", [])
    if not schemes:
        return "client authentication" if "token" in operation["tags"] else "public"
    if "client" in schemes[0]:
        return "authentication of a confidential client"
    scopes = schemes[0]["bearer"]
    return f"access token, scope `{' '.join(scopes)}`" if scopes else "access token of a user"
