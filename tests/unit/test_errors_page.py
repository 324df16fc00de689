"""docs/reference/errors.md has every error code and description that the services send, and no other code."""

import re
import string

import pytest
import yaml

from auth_app.pages.texts import TEXTS
from flask_resource_server.tokens.checks import CHECKS
from tests.error_sentences import (
    Sentences,
    sentences_of_calls,
    sentences_of_classes,
    sentences_of_redirects,
    sentences_of_statuses,
)
from tests.servers import ROOT

PAGE = (ROOT / "docs/reference/errors.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
CODES = dict(
    re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", SECTIONS["API responses"], re.MULTILINE | re.DOTALL)
)
OTHERS = SECTIONS["Other HTTP errors"]
REDIRECTS = SECTIONS["Errors from /authorize"]
# Sent to users and to operators, by the same class as an error of the API.
ELSEWHERE = SECTIONS["Pages that users see"] + SECTIONS["Commands"]

# The texts of forms that have not been accepted.
FORM_ERRORS = {
    "wrong_credentials",
    "too_many_attempts",
    "unavailable",
    "form_expired",
    "passwords_differ",
    "wrong_password",
}


def rows_of(section: str) -> set[tuple[str, ...]]:
    return {
        tuple(cell.strip() for cell in row.split("|"))
        for row in re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    }


def sent() -> Sentences:
    return sentences_of_classes() | sentences_of_statuses() | sentences_of_calls()


def test_page_has_every_description_under_its_code() -> None:
    described = {(code, row[0]) for code, section in CODES.items() for row in rows_of(section)}
    described |= {(row[0].strip("`"), row[2]) for row in rows_of(OTHERS)}
    elsewhere = {row[0] for row in rows_of(ELSEWHERE)}

    missing = {(code, text) for code, text in sent() - described if text not in elsewhere}
    assert missing == set()


def test_page_has_every_error_of_a_redirect() -> None:
    described = {(row[0].strip("`"), row[1]) for row in rows_of(REDIRECTS)}

    assert sentences_of_redirects() - described == set()


def test_page_has_no_other_codes() -> None:
    known = {code for code, _ in sent()}
    known_in_redirects = {code for code, _ in sentences_of_redirects()} | {"invalid_target"}
    others = {row[0].strip("`") for row in rows_of(OTHERS)} - {"error"}
    redirects = {row[0].strip("`") for row in rows_of(REDIRECTS)} - {"error"}

    assert CODES.keys() | others == known
    assert redirects == known_in_redirects


def test_page_has_no_descriptions_that_nobody_sends() -> None:
    texts = {text for _, text in sent() | sentences_of_redirects()}
    described = {row[0] for section in CODES.values() for row in rows_of(section)}
    described |= {row[1] for row in rows_of(REDIRECTS)}

    assert {text for text in described if not text.startswith("Desc")} <= texts


def test_page_has_every_reason_for_which_a_token_is_refused() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    reasons = {check.reason for check in CHECKS}
    reasons |= set(re.findall(r'\b(?:refuse|_respond|RefusedToken)\("(\w+)"', sources))

    assert {row[0].strip("`") for row in rows_of(SECTIONS["explain-token"])} - {"Reason"} == reasons


def test_page_has_every_text_of_a_form_that_is_not_accepted() -> None:
    named = FORM_ERRORS | {
        name for name in TEXTS if name.startswith("password_") and name != "password_changed"
    }

    assert {name for name in named if f"`{name}`" not in SECTIONS["Pages that users see"]} == set()


@pytest.mark.parametrize("service", ["auth_app", "course_app"])
def test_examples_in_the_contract_are_errors_that_are_sent(service: str) -> None:
    document = yaml.safe_load((ROOT / service / "openapi.yml").read_text())
    known = {re.sub(r"\bparameter (?!is\b)\w+", "parameter ...", text): code for code, text in sent()}
    examples = list(find_errors(document))

    assert examples
    for example in examples:
        text = re.sub(r"\bparameter (?!is\b)\w+", "parameter ...", example["error_description"])
        assert (example["error"], text) in sent() or known.get(text) == example["error"], example


def find_errors(node: object) -> list[dict[str, str]]:
    """Return the examples of errors in a part of a contract."""
    if isinstance(node, dict):
        if isinstance(node.get("error"), str) and "error_description" in node:
            return [node]
        return [error for value in node.values() for error in find_errors(value)]
    return [error for value in node for error in find_errors(value)] if isinstance(node, list) else []


def test_descriptions_can_stand_in_a_header() -> None:
    """RFC 6749 section 5.2 and RFC 6750 section 3: ASCII without quotes and backslashes."""
    allowed = set(string.printable) - set('"\\\t\n\r\v\f')

    assert {text for _, text in sent() | sentences_of_redirects() if not set(text) <= allowed} == set()
