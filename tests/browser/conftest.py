"""A page in the Chromium of the system."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.conftest import find_browser


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        # The certificate of a test's nginx is signed by itself.
        context = browser.new_context(viewport={"width": 1000, "height": 1300}, ignore_https_errors=True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        yield page
        browser.close()
