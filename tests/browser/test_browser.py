"""The README's walkthrough in a real browser: log in on one docs page, read courses on the other."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.browser.docs_page import execute, log_in, read_courses
from tests.nginx import NGINX, serve_paths
from tests.servers import Pair


@pytest.fixture
def asked(page: Page) -> set[str]:
    """The origins to which the page sends requests."""
    origins: set[str] = set()
    page.on("request", lambda sent: origins.add("/".join(sent.url.split("/")[:3])))
    return origins


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """The errors and warnings of the page."""
    found: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_reader_logs_in_and_reads_courses(
    page: Page,
    pair: Pair,
    asked: set[str],
    complaints: list[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    pictures: Path = request.config.getoption("--screenshots") or tmp_path

    token = log_in(page, pair.auth.url)
    button = page.locator("#operations-token-issueToken").get_by_role("button", name="Execute")
    button.evaluate("element => element.scrollIntoView()")
    page.screenshot(path=pictures / "docs-auth.png")
    read_courses(page, pair.course.url, token)
    page.locator("#operations-courses-listCourses").evaluate("element => element.scrollIntoView()")
    page.screenshot(path=pictures / "docs-course.png")

    assert asked == {pair.auth.url, pair.course.url}
    assert complaints == []


def test_token_form_begins_with_the_fields_of_a_login(page: Page, pair: Pair) -> None:
    log_in(page, pair.auth.url)
    rows = page.locator("#operations-token-issueToken tr[data-property-name]")
    fields = {row.get_attribute("data-property-name"): row.locator("input").first for row in rows.all()}

    assert list(fields)[:4] == ["grant_type", "username", "password", "scope"]
    filled_in = {name: field.input_value() for name, field in fields.items() if name != "resource"}
    assert {name: value for name, value in filled_in.items() if value} == {
        "grant_type": "password",
        "username": "student1",
        "password": "password123",
    }


@pytest.mark.parametrize(
    ("operation", "fields", "sent"),
    [
        ("issueToken", {}, {"grant_type", "username", "password"}),
        ("issueToken", {"scope": "courses:read"}, {"grant_type", "username", "password", "scope"}),
        ("revokeToken", {"token": "x"}, {"token"}),
    ],
    ids=["login", "login with a scope", "revocation"],
)
def test_displayed_curl_command_has_no_empty_parameter(
    page: Page, pair: Pair, operation: str, fields: dict[str, str], sent: set[str]
) -> None:
    page.goto(f"{pair.auth.url}/docs")
    part = execute(page, f"token-{operation}", fields)
    curl = part.locator(".curl-command code").inner_text()

    body = parse_qs(re.search(r"-d '(.*)'", curl)[1], keep_blank_values=True)  # type: ignore[index]
    assert body.keys() == sent
    assert all(value for values in body.values() for value in values)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_reader_logs_in_and_reads_courses_under_path_prefixes(
    page: Page, asked: set[str], complaints: list[str], tmp_path: Path
) -> None:
    with serve_paths(tmp_path) as proxy:
        token = log_in(page, f"{proxy.url}/auth")
        read_courses(page, f"{proxy.url}/courses-api", token)

        assert asked == {proxy.url}
        assert complaints == []
