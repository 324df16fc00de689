"""Users of the example applications sign in once, use both, and sign out of both, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.applications import Applications, serve_applications
from tests.browser.sign_in_page import enter_password
from tests.servers import wait_for

COURSE = "Public-key cryptography"
ENDED = "Your sign-in has ended."


@pytest.fixture(scope="session")
def applications(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    with serve_applications(tmp_path_factory.mktemp("applications")) as running:
        yield running


@pytest.fixture(params=["web", "spa"])
def url(request: pytest.FixtureRequest, applications: Applications) -> str:
    """The address of one of the applications, then of the other."""
    address: str = getattr(applications, request.param)
    return address


def start(page: Page, url: str) -> None:
    """Open an application and start to sign in."""
    page.goto(url)
    page.get_by_text("Sign in", exact=True).click()


def expect_courses(page: Page) -> None:
    expect(page.get_by_role("listitem").filter(has_text=COURSE)).to_be_visible()
    expect(page.get_by_text("Signed in as student1.")).to_be_visible()


def wait_until_the_session_has_ended(page: Page) -> None:
    """Reload an application until it has noticed that its user has signed out elsewhere."""
    ended = page.get_by_text(ENDED)

    def has_ended() -> bool:
        page.reload()
        expect(ended.or_(page.get_by_role("listitem").filter(has_text=COURSE))).to_be_visible()
        return ended.is_visible()

    wait_for(has_ended, seconds=30)


def test_user_signs_in_sees_courses_and_signs_out(page: Page, url: str, applications: Applications) -> None:
    start(page, url)
    enter_password(page)
    expect_courses(page)
    assert page.url == f"{url}/", "the code is not left in the address"
    page.reload()
    expect_courses(page)

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_text("Sign in", exact=True)).to_be_visible()
    assert page.url.startswith(f"{url}/")
    page.get_by_text("Sign in", exact=True).click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_user_can_sign_out_in_a_tab_that_was_left_open(
    page: Page, url: str, applications: Applications
) -> None:
    other = page.context.new_page()
    start(page, url)
    enter_password(page)
    expect_courses(page)
    start(other, url) if url == applications.spa else other.goto(url)
    expect_courses(other)

    for tab in (page, other):
        tab.get_by_role("button", name="Sign out").click()
        expect(tab.get_by_text("Sign in", exact=True)).to_be_visible()
        assert tab.url.startswith(f"{url}/")


def test_injected_script_does_not_run(page: Page, applications: Applications) -> None:
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text))
    page.goto(applications.spa)

    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.smuggled = true";
      document.body.append(script);
    }""")

    assert page.evaluate("window.smuggled") is None
    assert any("Content Security Policy" in text for text in found)


@pytest.mark.parametrize(("first", "second"), [("web", "spa"), ("spa", "web")])
def test_user_signs_in_once_and_out_of_both_applications(
    first: str,
    second: str,
    page: Page,
    applications: Applications,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """One password is enough for both; after signing out of one, the user is signed out of the other."""
    wanted = request.config.getoption("--screenshots") if first == "web" else None
    pictures: Path = wanted or tmp_path
    other = page.context.new_page()
    for tab in (page, other):
        tab.set_viewport_size({"width": 800, "height": 560})
    start(page, getattr(applications, first))
    page.get_by_label("User name").wait_for()
    page.screenshot(path=pictures / "sign-in.png")
    enter_password(page)
    expect_courses(page)
    page.screenshot(path=pictures / "first-application.png")

    start(other, getattr(applications, second))
    expect_courses(other)
    other.screenshot(path=pictures / "second-application.png")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Sign in", exact=True)).to_be_visible()
    wait_until_the_session_has_ended(other)
    other.screenshot(path=pictures / "signed-out-everywhere.png")
    other.get_by_text("Sign in", exact=True).click()
    expect(other.get_by_label("Password")).to_be_visible()
