"""docs/reference/errors.md lists every error of the services, the proxy and the commands, and no others."""

import re
import string

import pytest
import yaml

from auth_app.accounts import redirect_uris
from auth_app.accounts.password_rules import _common_passwords
from auth_app.oauth import authorization_codes
from auth_app.oauth.authorize import _LONGEST_URL
from auth_app.pages.texts import TEXTS
from flask_resource_server.tokens import checks, keys
from flask_resource_server.tokens.checks import CHECKS
from shared import bodies
from tests.error_sentences import (
    Sentences,
    sentences_of_calls,
    sentences_of_classes,
    sentences_of_nginx,
    sentences_of_redirects,
    sentences_of_statuses,
    statuses,
)
from tests.figures import find_figures
from tests.operator_messages import operator_messages
from tests.servers import ROOT

PAGE = (ROOT / "docs/reference/errors.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
CODES = dict(
    re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", SECTIONS["API responses"], re.MULTILINE | re.DOTALL)
)
OTHERS = SECTIONS["Other HTTP errors"]
REDIRECTS = SECTIONS["Errors from /authorize"]
# Shown to users and operators, but raised by the same class as an error of the API.
ELSEWHERE = SECTIONS["Pages that users see"] + SECTIONS["Commands"]
PROXY = SECTIONS["Responses of the proxy"]
# Messages are in backticks. Pydantic and the system have their own texts.
OPERATORS = SECTIONS["Startup"] + SECTIONS["Commands"]
FOREIGN = {"...: Input should be ...", "...: ..."}

# The messages shown when a form is refused.
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
    return sentences_of_classes() | sentences_of_statuses() | sentences_of_calls() | sentences_of_nginx()


def test_page_lists_every_description_under_its_code() -> None:
    described = {(code, row[0]) for code, section in CODES.items() for row in rows_of(section)}
    described |= {(row[0].strip("`"), row[2]) for row in rows_of(OTHERS)}
    elsewhere = {row[0] for row in rows_of(ELSEWHERE)}

    missing = {(code, text) for code, text in sent() - described if text not in elsewhere}
    assert missing == set()


def test_page_lists_every_redirect_error() -> None:
    described = {(row[0].strip("`"), row[1]) for row in rows_of(REDIRECTS)}

    assert sentences_of_redirects() - described == set()


def test_page_lists_exactly_the_codes_that_are_sent() -> None:
    known = {code for code, _ in sent()}
    known_in_redirects = {code for code, _ in sentences_of_redirects()} | {"invalid_target"}
    others = {row[0].strip("`") for row in rows_of(OTHERS)} - {"error"}
    redirects = {row[0].strip("`") for row in rows_of(REDIRECTS)} - {"error"}

    assert CODES.keys() | others == known
    assert redirects == known_in_redirects


def test_page_lists_no_description_that_is_never_sent() -> None:
    texts = {text for _, text in sent() | sentences_of_redirects()}
    described = {row[0] for section in CODES.values() for row in rows_of(section)}
    described |= {row[1] for row in rows_of(REDIRECTS)}

    assert {text for text in described if not text.startswith("Desc")} <= texts


def test_page_lists_every_reason_for_refusing_a_token() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    reasons = {check.reason for check in CHECKS}
    reasons |= set(re.findall(r'\b(?:refuse|_respond|RefusedToken)\("(\w+)"', sources))

    assert {row[0].strip("`") for row in rows_of(SECTIONS["explain-token"])} - {"Reason"} == reasons


def test_page_lists_every_message_of_a_refused_form() -> None:
    named = FORM_ERRORS | {
        name for name in TEXTS if name.startswith("password_") and name != "password_changed"
    }
    rows = {(row[1], row[0]) for row in rows_of(SECTIONS["Pages that users see"]) if len(row) == 3}

    assert rows - {("Name", "Text"), ("---", "---")} == {
        (f"`{name}`", re.sub(r"\{\w+\}", "...", TEXTS[name])) for name in named
    }


def test_page_lists_the_status_of_each_code() -> None:
    described = {
        code: {int(re.findall(r"^Status (\d+)", text, re.MULTILINE)[0])} for code, text in CODES.items()
    }
    described |= {row[0].strip("`"): {int(row[1])} for row in rows_of(OTHERS) if row[1].isdigit()}
    listed = re.findall(r"^\| (\d+) \| (\[.*) \|$", SECTIONS["API responses"], re.MULTILINE)

    assert described == statuses() | {"too_many_requests": {429}}
    assert [(int(status), code) for status, codes in listed for code in re.findall(r"`(\w+)`", codes)] == [
        (*described[code], code) for code in CODES
    ]


def test_page_lists_every_response_of_the_proxy() -> None:
    files = [(ROOT / "deploy" / name).read_text() for name in ("nginx.conf", "nginx-paths.conf")]
    rows = {(row[0], row[1].removeprefix("a page: ")) for row in rows_of(PROXY) if len(row) == 3}
    patterns = (r'return (\d{3}) \'\{.*?"error_description":"(.*?)"', r"return (\d{3}) '<.*?<h1>(.*?)</h1>")

    for text in files:
        assert {found for pattern in patterns for found in re.findall(pattern, text)} == {
            row for row in rows if row[0].isdigit()
        }
    assert set(re.findall(r"^  proxy_read_timeout (\d+)s;", "\n".join(files), re.MULTILINE)) == set(
        re.findall(r"more than (\d+) seconds to respond", PROXY)
    )


def messages_of_page() -> set[str]:
    cells = [row[0] for row in rows_of(OPERATORS)]
    return {message for cell in cells for message in re.findall(r"`([^`]+)`", cell) if " " in message}


def test_page_lists_no_message_that_the_code_does_not_contain() -> None:
    known = [
        *operator_messages(),
        *(f"{name}: {text}" for text in operator_messages() for name in ("...", "CORS_ORIGINS")),
    ]
    written = messages_of_page() - FOREIGN - {"Permission denied"}

    assert len(written) > 40
    assert {text for text in written if not any(map(shorten(text).fullmatch, known))} == set()
    texts = {text for _, text in sent()} | {"Message"}
    plain = {row[0] for row in rows_of(OPERATORS) if "`" not in row[0] and "---" not in row[0]}
    assert plain - texts == set()


def test_page_lists_every_message_for_operators() -> None:
    patterns = [shorten(text) for text in messages_of_page() - FOREIGN]
    missing = {
        text
        for text in operator_messages()
        if not any(
            one.fullmatch(spelled)
            for one in patterns
            for spelled in (text, f"...: {text}", f"CORS_ORIGINS: {text}")
        )
    }

    assert missing == set()


def shorten(text: str) -> re.Pattern[str]:
    """Return a pattern for the messages that a row of the page stands for."""
    return re.compile(".*".join(map(re.escape, text.split("..."))) + "(?:[:;,].*)?")


LIMITS = [
    (r"URL has more than (\d+) characters", _LONGEST_URL),
    (r"A token has at most (\d+) characters", checks.MAXIMUM_LENGTH),
    (r"within (\d+) seconds, with the same client", authorization_codes.LIFETIME),
    (r"At most (\d+) characters, without `#`", redirect_uris.MAXIMUM_LENGTH),
    (r"A body has at most (\d+) KiB", bodies.MAXIMUM_BYTES // 1024),
    (r"at most (\d+) fields", bodies.MAXIMUM_FIELDS),
    (r"list of ([\d,]+) common passwords", len(_common_passwords())),
    (r"Create one of (\d+) bits or more", keys.MINIMUM_BITS),
]


@pytest.mark.parametrize(("pattern", "value"), LIMITS, ids=[pattern for pattern, _ in LIMITS])
def test_limit_matches_the_code(pattern: str, value: int) -> None:
    assert set(find_figures(PAGE, pattern)) == {value}


@pytest.mark.parametrize("service", ["auth_app", "course_app"])
def test_error_examples_in_the_contract_match_errors_that_are_sent(service: str) -> None:
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


def test_descriptions_are_valid_in_a_header() -> None:
    """RFC 6749 section 5.2 and RFC 6750 section 3: ASCII without quotes and backslashes."""
    allowed = set(string.printable) - set('"\\\t\n\r\v\f')

    assert {text for _, text in sent() | sentences_of_redirects() if not set(text) <= allowed} == set()
