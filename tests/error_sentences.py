"""Every error code and description that the services can send, collected from their source."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import auth_app.errors
import course_app.errors
from auth_app.oauth.authorization_request import _UNSUPPORTED, UnsafeRedirect
from flask_resource_server.errors import BearerError
from shared.contract import _SENTENCES
from shared.errors import _HTTP_ERRORS, ApiError
from tests.servers import ROOT

PACKAGES = ("auth_app", "course_app", "shared", "flask_resource_server")
REDIRECT = "AuthorizationError"  # the error that an application gets in a redirect

Sentences = set[tuple[str, str]]  # codes and descriptions; `...` stands for what varies


@cache
def sentences_of_classes() -> Sentences:
    """Return those of exceptions that are raised without their own description."""
    assert auth_app.errors, course_app.errors
    own = {kind for kind in _subclasses(ApiError, BearerError) if kind.error and kind is not UnsafeRedirect}
    return {(kind.error, str(kind.description)) for kind in own}


@cache
def sentences_of_statuses() -> Sentences:
    """Return those of errors that Flask, Werkzeug and `abort` raise."""
    return set(_HTTP_ERRORS.values())


@cache
def statuses() -> dict[str, set[int]]:
    """Return the statuses with which each code is sent."""
    found: dict[str, set[int]] = {}
    for kind in _subclasses(ApiError, BearerError):
        if kind.error and kind is not UnsafeRedirect:
            found.setdefault(kind.error, set()).add(getattr(kind, "status", None) or kind.code)
    for status, (code, _) in _HTTP_ERRORS.items():
        found.setdefault(code, set()).add(status)
    return found


@cache
def sentences_of_nginx() -> Sentences:
    """Return those that the proxy sends itself."""
    found = re.findall(r"return \d{3} '(\{.*?\})'", (ROOT / "deploy/nginx.conf").read_text())
    return {(error["error"], error["error_description"]) for error in map(json.loads, found)}


@cache
def sentences_of_calls() -> Sentences:
    """Return those that are written where an `ApiError` is created, or in the contract."""
    codes = {kind.__name__: kind.error for kind in _subclasses(ApiError)}
    found = {
        (codes[name], text)
        for name, call, constants in _calls()
        if name in codes and call.args and (text := _text(call.args[0], constants))
    }
    return found | {("invalid_request", text) for text in _sentences_of_contract()}


@cache
def sentences_of_redirects() -> Sentences:
    """Return those that `/authorize` sends to applications."""
    found: Sentences = set()
    for name, call, constants in _calls():
        if name == REDIRECT:
            code, text = (_text(argument, constants) for argument in call.args)
            found |= {(one, text) for one in ([code] if code else _UNSUPPORTED.values()) if text}
    return found


def _subclasses(*kinds: Any) -> set[Any]:
    below: set[Any] = (
        {one for kind in kinds for one in _subclasses(*kind.__subclasses__())} if kinds else set()
    )
    return {*kinds, *below}


def _calls() -> Iterator[tuple[str, ast.Call, dict[str, str]]]:
    """Yield each call of a name in our packages, with the module's constants."""
    for path in _sources():
        tree = ast.parse(path.read_text())
        constants = {
            ast.unparse(node.targets[0]): node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id, node, constants


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    """Return a string with `...` for what varies, or None for other expressions."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return None


def _sentences_of_contract() -> Iterator[str]:
    yield from (sentence.replace("{}", "...") for sentence in _SENTENCES.values())
    tree = ast.parse((ROOT / "shared/contract.py").read_text())
    describe = next(
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_describe"
    )
    parts = {
        id(part) for node in ast.walk(describe) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(describe):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts:
            text = str(_text(node, {})).replace("{}", "...")
            if text.endswith("."):
                yield text
