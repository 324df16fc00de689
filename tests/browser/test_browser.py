"""The README's walk in a real browser: log in on one docs page, read courses on the other."""

from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.browser.docs_page import log_in, read_courses
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


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_reader_logs_in_and_reads_courses_under_path_prefixes(
    page: Page, asked: set[str], complaints: list[str], tmp_path: Path
) -> None:
    with serve_paths(tmp_path) as proxy:
        token = log_in(page, f"{proxy.url}/auth")
        read_courses(page, f"{proxy.url}/courses-api", token)

        assert asked == {proxy.url}
        assert complaints == []
