"""An operator can set the name, logo, colour and language of auth_app's pages."""

import json
import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import serve_site
from tests.browser.test_accessibility import run_axe

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="32"><rect width="96" height="32"/></svg>'
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TEXTS = {"language": "de", "sign_in": "Anmelden", "sign_in_to": "weiter zu {application}"}


def test_pages_show_the_configured_name_logo_and_texts(page: Page, tmp_path: Path) -> None:
    (tmp_path / "logo.svg").write_text(LOGO)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    settings = {
        "BRAND_NAME": "Riverside College",
        "BRAND_LOGO": str(tmp_path / "logo.svg"),
        "PAGE_TEXTS_FILE": str(tmp_path / "texts.json"),
    }
    with serve_site(tmp_path, **settings) as site:
        page.goto(site.authorize())

        expect(page).to_have_title(re.compile("^Anmelden .* Riverside College$"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Anmelden")
        expect(page.get_by_text("weiter zu Planner")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.get_by_text("Riverside College")).to_be_visible()
        assert page.locator("header img").evaluate("image => image.naturalWidth") == 96


# The last has the lowest contrast with both black and white: text readable on it is so on all others.
@pytest.mark.parametrize("colour", ["#ffffff", "#000000", "#ffe94d", "#757575"])
def test_buttons_are_readable_in_every_colour(colour: str, browser: Browser, tmp_path: Path) -> None:
    with serve_site(tmp_path, BRAND_COLOUR=colour) as site:
        for scheme in SCHEMES:
            page = browser.new_context(color_scheme=scheme, bypass_csp=True).new_page()
            page.goto(f"{site.url}/login")
            button = page.get_by_role("button", name="Sign in")
            button.hover()

            assert button.evaluate("e => getComputedStyle(e).backgroundColor") == rgb(colour)
            assert run_axe(page) == []


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"
