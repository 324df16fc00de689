"""A browser without JavaScript: it keeps cookies, follows redirects and submits forms."""

import html
import re
from urllib.parse import urljoin

import requests

from tests.servers import PATIENCE

Page = requests.Response


class FormBrowser:
    """What a person needs to use applications that work without scripts."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between a test and its servers

    def open(self, url: str) -> Page:
        """Return the page to which a URL leads in the end."""
        return self._session.get(url, timeout=PATIENCE)

    def submit(self, page: Page, **fields: str) -> Page:
        """Fill in the first form of a page, send it, and return the page to which that leads."""
        found = re.search(r"(?s)<form([^>]*)>(.*?)</form>", page.text)
        assert found, page.text
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
        assert attributes["method"].lower() == "post"
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
        form = {name: html.unescape(value) for name, value in hidden} | fields
        action = urljoin(page.url, html.unescape(attributes.get("action", "")))
        return self._session.post(action, form, timeout=PATIENCE)

    def sign_in(self, url: str, username: str = "student1", password: str = "password123") -> Page:
        """Open what leads to the sign-in page, sign in there, and return the page to which that leads."""
        page = self.open(url)
        assert 'type="password"' in page.text, page.text
        return self.submit(page, username=username, password=password)
