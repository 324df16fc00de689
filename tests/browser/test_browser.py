"""The walk of the README in a real browser: log in at one docs page, read courses on the other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import find_browser
from tests.servers import Pair


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1000, "height": 1300})
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def test_reader_logs_in_and_reads_courses(
    page: Page, pair: Pair, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pictures: Path = request.config.getoption("--screenshots") or tmp_path
    pictures = request.config.invocation_params.dir / pictures
    asked: set[str] = set()
    said: list[str] = []
    page.on("request", lambda sent: asked.add("/".join(sent.url.split("/")[:3])))
    page.on("console", lambda message: said.append(complaint(message)))
    page.on("pageerror", lambda error: said.append(str(error)))

    page.goto(f"{pair.auth.url}/docs")
    page.locator("#operations-token-issueToken .opblock-summary").click()
    operation = page.locator("#operations-token-issueToken")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .highlight-code code").first
    expect(answer).to_contain_text("access_token")
    operation.get_by_role("button", name="Execute").evaluate("element => element.scrollIntoView()")
    page.screenshot(path=pictures / "docs-auth.png")
    token = json.loads(answer.inner_text())["access_token"]

    page.goto(f"{pair.course.url}/docs")
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("auth-bearer-value").fill(token)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    page.locator("#operations-courses-listCourses .opblock-summary").click()
    operation = page.locator("#operations-courses-listCourses")
    operation.get_by_role("button", name="Execute").click()
    live = operation.locator(".live-responses-table")
    expect(live.locator("td.response-col_status:not(.col_header)").first).to_contain_text("200")
    expect(live).to_contain_text("Public-key cryptography")
    operation.evaluate("element => element.scrollIntoView()")
    page.screenshot(path=pictures / "docs-course.png")

    assert asked == {pair.auth.url, pair.course.url}
    assert [line for line in said if line] == []


def complaint(message: ConsoleMessage) -> str:
    return message.text if message.type in {"error", "warning"} else ""
