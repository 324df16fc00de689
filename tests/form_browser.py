"""A browser without JavaScript: it keeps cookies, follows redirects and submits forms."""

import html
import re
from urllib.parse import urljoin

import requests

from tests.servers import PATIENCE

Page = requests.Response


class FormBrowser:
    """A browser for applications that work without JavaScript."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between a test and its servers

    def open(self, url: str) -> Page:
        """Return the page at a URL, after all redirects."""
        return self._session.get(url, timeout=PATIENCE)

    def submit(self, page: Page, **fields: str) -> Page:
        """Fill in the first form of a page, submit it, and return the resulting page."""
        found = re.search(r"(?s)<form([^>]*)>(.*?)</form>", page.text)
        assert found, page.text
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
        assert attributes["method"].lower() == "post"
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
        form = {name: html.unescape(value) for name, value in hidden} | fields
        action = urljoin(page.url, html.unescape(attributes.get("action", "")))
        return self._session.post(action, form, timeout=PATIENCE)

    def sign_in(self, url: str, username: str = "student1", password: str = "password123") -> Page:
        """Open a URL that redirects to the sign-in page, sign in there, and return the resulting page."""
        page = self.open(url)
        assert 'type="password"' in page.text, page.text
        return self.submit(page, username=username, password=password)
