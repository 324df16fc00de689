"""Fixtures: a page in the system's Chromium, and the pages of auth_app that it opens."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.site import Site, serve_site
from tests.conftest import find_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium per file; each test opens its own context in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    # The certificate of a test's nginx is self-signed.
    context = browser.new_context(viewport={"width": 1000, "height": 1300}, ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The sign-in pages."""
    with serve_site(tmp_path_factory.mktemp("site")) as site:
        yield site
