"""Sign in on the docs page of course_app, in a real browser and under the strict CSP."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from tests.browser.docs_page import execute, log_in, read_courses
from tests.browser.site import submit_sign_in
from tests.servers import Pair, listen, serve_pair, url_of


@pytest.fixture(scope="module")
def docs_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both services as scripts/run serves them."""
    listeners = (listen(), listen())
    auth_settings = {"CORS_ORIGINS": url_of(listeners[1])}
    folder = tmp_path_factory.mktemp("docs")
    with serve_pair(folder, listeners, auth_settings, {"DOCS_CLIENT_ID": "demo-docs"}) as pair:
        yield pair


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """The errors and warnings of the page."""
    found: list[str] = []

    def listen_to(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(message.text)

    page.on("console", listen_to)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def open_dialog(page: Page, pair: Pair) -> Locator:
    page.goto(f"{pair.course.url}/docs")
    page.get_by_role("button", name="Authorize", exact=True).click()
    return page.locator(".modal-ux")


def open_sign_in(page: Page, dialog: Locator) -> Page:
    """Press the button of the dialog, and return the window that opens."""
    with page.expect_popup() as opened:
        dialog.get_by_role("button", name="Apply given OAuth2 credentials").click()
    return opened.value


def test_reader_signs_in_and_reads_courses(page: Page, docs_pair: Pair, complaints: list[str]) -> None:
    dialog = open_dialog(page, docs_pair)
    window = open_sign_in(page, dialog)
    expect(window.get_by_text("to continue to Course API docs")).to_be_visible()
    window.get_by_label("User name").fill("student1")
    window.get_by_label("Password").fill("password123")
    with window.expect_event("close"):
        window.keyboard.press("Enter")

    expect(dialog.get_by_role("heading", name="Authorized")).to_be_visible()
    dialog.get_by_role("button", name="Close", exact=True).click()
    live = execute(page, "courses-listCourses").locator(".live-responses-table")
    expect(live.locator("td.response-col_status:not(.col_header)").first).to_contain_text("200")
    expect(live).to_contain_text("Public-key cryptography")
    assert complaints == []


def test_signed_in_user_is_not_prompted_again(page: Page, docs_pair: Pair, complaints: list[str]) -> None:
    page.goto(f"{docs_pair.auth.url}/login")
    submit_sign_in(page)
    dialog = open_dialog(page, docs_pair)

    open_sign_in(page, dialog)

    expect(dialog.get_by_role("heading", name="Authorized")).to_be_visible()
    assert complaints == []


def test_token_can_be_pasted_instead(page: Page, docs_pair: Pair, complaints: list[str]) -> None:
    token = log_in(page, docs_pair.auth.url)
    read_courses(page, docs_pair.course.url, token)

    assert complaints == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "another"}, "This response does not belong to this sign-in."),
        ({"iss": "https://another.example.com"}, "This response does not belong to this sign-in."),
        ({"code": "", "error": "x", "error_description": "It is too late."}, "It is too late."),
    ],
    ids=["state", "issuer", "error"],
)
def test_invalid_sign_in_response_is_reported(
    changes: dict[str, str], message: str, page: Page, docs_pair: Pair
) -> None:
    dialog = open_dialog(page, docs_pair)
    window = open_sign_in(page, dialog)
    expect(window.get_by_role("heading", level=1)).to_have_text("Sign in")
    state = parse_qs(urlsplit(window.url).query)["state"][0]
    answer = {"code": "c" * 43, "state": state, "iss": docs_pair.auth.url, **changes}
    parameters = urlencode({name: value for name, value in answer.items() if value})

    url = f"{docs_pair.course.url}/docs/oauth2-redirect?{parameters}"
    with window.expect_event("close"):
        window.evaluate("url => { location = url }", url)

    expect(dialog.locator(".errors")).to_contain_text(message)
    expect(dialog.get_by_role("heading", name="Authorized")).to_have_count(0)


def test_redirect_page_without_a_sign_in_says_what_to_do(
    page: Page, docs_pair: Pair, complaints: list[str]
) -> None:
    page.goto(f"{docs_pair.course.url}/docs/oauth2-redirect?code=x&state=y")

    expect(page.get_by_text("Close this window and go back to the docs page.")).to_be_visible()
    assert complaints == []
