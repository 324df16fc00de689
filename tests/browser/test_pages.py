"""The sign-in pages in a real browser: by keyboard, without JavaScript, from applications."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import Site, fail_until_throttled, serve_application, serve_site, submit_sign_in

# The type and `autocomplete` of the fields of the only form.
FIELDS = """() => [...document.querySelector("form").elements].filter(field => field.autocomplete)
  .map(field => [field.type, field.autocomplete])"""
ADD_FRAME = """url => new Promise(done => document.body.append(
  Object.assign(document.createElement("iframe"), {src: url, onload: done})))"""


@pytest.fixture
def plain_page(browser: Browser) -> Page:
    """A page in which no script runs."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.set_default_timeout(20_000)
    return page


def expect_heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def expect_focus(page: Page, name: str) -> None:
    expect(page.locator(":focus")).to_have_accessible_name(name)


def test_keyboard_alone_signs_in_and_out(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    expect_focus(page, "User name")
    page.keyboard.type("student1")
    page.keyboard.press("Tab")
    expect_focus(page, "Password")
    page.keyboard.type("password123")
    page.keyboard.press("Tab")
    expect_focus(page, "Sign in")
    page.keyboard.press("Space")
    expect_heading(page, "Your account")

    page.keyboard.press("Tab")
    expect_focus(page, "Change password")
    page.keyboard.press("Tab")
    expect_focus(page, "Sign out This browser")
    page.keyboard.press("Enter")
    expect_heading(page, "You are signed out")


def test_wrong_password_is_reported_at_both_fields(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    submit_sign_in(page, "teacher1", "wrong")

    expect(page.get_by_role("alert")).to_have_text("Incorrect user name or password.")
    expect(page).to_have_title(re.compile("^Error: Sign in"))
    expect_focus(page, "Password")
    for name in ("User name", "Password"):
        field = page.get_by_label(name)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description("Incorrect user name or password.")


def test_throttling_is_reported_without_marking_the_fields_invalid(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    fail_until_throttled(page, "stranger")

    expect(page.get_by_role("alert")).to_contain_text("Too many failed attempts.")
    assert page.locator("[aria-invalid]").count() == 0


@pytest.mark.parametrize(
    ("passwords", "field", "message"),
    [
        (
            ["wrong", "a long phrase", "a long phrase"],
            "Current password",
            "The current password is incorrect.",
        ),
        (["password123", "short", "short"], "New password", "must have at least 8 characters"),
        (["password123", "a phrase", "another"], "Repeat new password", "The new passwords do not match"),
    ],
    ids=["current", "new", "repeated"],
)
def test_password_change_error_is_reported_at_its_field(
    passwords: list[str], field: str, message: str, page: Page, site: Site
) -> None:
    page.goto(f"{site.url}/login")
    submit_sign_in(page)
    page.goto(f"{site.url}/account/password")
    expect_focus(page, "Current password")
    for password in passwords:
        page.keyboard.type(password)
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    expect_focus(page, field)
    expect(page.locator("[aria-invalid]")).to_have_count(1)
    expect(page.locator("[aria-invalid]:focus")).to_have_accessible_description(
        re.compile(re.escape(message))
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_sign_in_redirects_to_an_application_on_the_users_machine(
    host: str, page: Page, tmp_path: Path
) -> None:
    """Chromium applies the form-action of a CSP to the redirects after a form is submitted."""
    with serve_site(tmp_path, host) as site:
        page.goto(site.authorize())
        expect(page.get_by_text("to continue to Planner")).to_be_visible()
        submit_sign_in(page)

        expect_heading(page, "Planner")
        [(method, answer)] = site.answers
        assert (method, answer["state"], answer["iss"]) == ("GET", "some state", site.url)
        assert len(answer["code"]) == 43


def test_application_can_redirect_to_another_host_after_sign_in(page: Page, tmp_path: Path) -> None:
    """Chromium checks that redirect too, and would leave users on the sign-in page."""
    with serve_site(tmp_path, onward_host="localhost") as site:
        page.goto(site.authorize())
        submit_sign_in(page)

        expect_heading(page, "Planner")
        assert page.url.startswith("http://localhost:")


def test_users_can_sign_in_and_out_without_javascript(plain_page: Page, site: Site) -> None:
    page = plain_page
    page.goto(site.authorize(response_mode="form_post"))
    submit_sign_in(page)
    expect_heading(page, "Continue to Planner")
    expect_focus(page, "Continue")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect_heading(page, "Planner")
    assert site.answers[-1][0] == "POST"
    assert site.answers[-1][1].keys() == {"code", "state", "iss"}

    page.goto(f"{site.url}/logout")
    page.get_by_role("button", name="Sign out").click()
    expect_heading(page, "You are signed out")


def test_form_post_response_submits_itself(page: Page, site: Site) -> None:
    page.goto(site.authorize(response_mode="form_post"))
    submit_sign_in(page)

    expect_heading(page, "Planner")
    assert site.answers[-1][0] == "POST"


def test_back_button_after_sign_out_does_not_show_the_account(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    submit_sign_in(page)
    expect(page.get_by_text("Signed in as student1")).to_be_visible()
    page.goto(f"{site.url}/logout")
    page.get_by_role("button", name="Sign out").click()
    expect_heading(page, "You are signed out")

    headings = []
    for _ in range(2):  # the confirmation page, and the account
        page.go_back()
        headings.append(page.get_by_role("heading", level=1).inner_text())
        expect(page.get_by_text("student1")).to_have_count(0)
    assert headings == ["You are signed out", "Sign in"]


def test_pages_cannot_be_framed_by_other_sites(page: Page, site: Site) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    with serve_application() as (port, _):
        page.goto(f"http://localhost:{port}/")
        page.evaluate(ADD_FRAME, f"{site.url}/login")

        assert page.frame_locator("iframe").locator("#username").count() == 0
        assert any("frame-ancestors 'none'" in complaint for complaint in complaints), complaints


def test_password_managers_recognise_the_forms(page: Page, site: Site) -> None:
    """The `autocomplete` values are those of the HTML standard, section 4.10.18.7.1."""
    page.goto(f"{site.url}/login")
    assert page.evaluate(FIELDS) == [["text", "username"], ["password", "current-password"]]
    submit_sign_in(page)
    page.goto(f"{site.url}/account/password")
    assert page.evaluate(FIELDS) == [
        ["text", "username"],
        ["password", "current-password"],
        ["password", "new-password"],
        ["password", "new-password"],
    ]
    assert page.locator("[autocomplete=username]").input_value() == "student1"
