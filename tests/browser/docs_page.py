"""Use a docs page as a reader of the README does."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from playwright.sync_api import Locator, Page, expect


def log_in(page: Page, url: str) -> str:
    """Execute `POST /token` on the docs page of auth_app, and return the access token."""
    page.goto(f"{url}/docs")
    operation = execute(page, "token-issueToken")
    answer = operation.locator(".live-responses-table .highlight-code code").first
    expect(answer).to_contain_text("access_token")
    token: str = json.loads(answer.inner_text())["access_token"]
    return token


def read_courses(page: Page, url: str, token: str) -> None:
    """Authorize on the docs page of course_app, and execute `GET /courses`, which must succeed."""
    page.goto(f"{url}/docs")
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("auth-bearer-value").fill(token)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    live = execute(page, "courses-listCourses").locator(".live-responses-table")
    expect(live.locator("td.response-col_status:not(.col_header)").first).to_contain_text("200")
    expect(live).to_contain_text("Public-key cryptography")


def execute(page: Page, name: str, fields: Mapping[str, str] = MappingProxyType({})) -> Locator:
    """Open an operation, fill in fields of its form, execute it, and return its part of the page."""
    operation = page.locator(f"#operations-{name}")
    operation.locator(".opblock-summary").click()
    for field, value in fields.items():
        operation.locator(f"tr[data-property-name={field}] input").fill(value)
    operation.get_by_role("button", name="Execute").click()
    return operation
