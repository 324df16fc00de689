"""auth_app's pages are accessible: WCAG 2.2 AA, where axe and Chromium can check it."""

from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.site import Site, walk

RUN_AXE = """async () => (await axe.run({
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})).violations.map(({id, nodes}) => [id, nodes.map(node => node.failureSummary)])"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OUTLINE = "element => getComputedStyle(element).outlineStyle"


def run_axe(page: Page) -> Any:
    """Return the violations that axe-core finds in a page, which must bypass its CSP."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(source)
    return page.evaluate(RUN_AXE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(scheme: Any, browser: Browser, site: Site) -> None:
    page = browser.new_context(color_scheme=scheme, bypass_csp=True).new_page()
    page.set_default_timeout(20_000)

    found = {name: run_axe(page) for name in walk(page, site)}

    assert len(found) == 12
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_pages_cause_no_console_messages_and_contact_no_other_host(page: Page, site: Site) -> None:
    """Chromium also warns about forms that password managers cannot fill in."""
    complaints: list[str] = []
    origins: set[str] = set()

    def listen(message: ConsoleMessage) -> None:
        # Chromium reports every error response, and the script that `walk` blocks.
        if "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: origins.add("/".join(sent.url.split("/")[:3])))

    names = list(walk(page, site))

    assert len(names) == 12
    assert complaints == []
    assert origins == {site.url}


def test_pages_fit_narrow_windows_and_large_text(page: Page, site: Site) -> None:
    """A window of 320 pixels (WCAG 2.2, 1.4.10), and text of twice the size (1.4.4)."""
    for name in walk(page, site):
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate(OVERFLOW) <= 0, name
        page.set_viewport_size({"width": 640, "height": 640})
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate(OVERFLOW) <= 0, name


def test_keyboard_reaches_every_control_with_visible_focus(page: Page, site: Site) -> None:
    for name in walk(page, site):
        controls = page.locator("a, button, input:not([type=hidden], [hidden])")
        seen = set()
        for _ in range(controls.count() + 1):  # once more: the focus also leaves the page
            page.keyboard.press("Tab")
            if page.locator(":focus").count():
                assert page.locator(":focus").evaluate(OUTLINE) == "solid", name
                seen.add(page.locator(":focus").evaluate("element => element.outerHTML"))
        assert len(seen) == controls.count(), name
