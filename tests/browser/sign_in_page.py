"""Use the sign-in page of auth_app as a user does."""

from playwright.sync_api import Page, expect


def enter_password(page: Page, username: str = "student1", password: str = "password123") -> None:
    """Fill in the sign-in page, which must be open, and submit it."""
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
