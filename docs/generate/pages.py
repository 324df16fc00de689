"""The files that are generated, and the function that returns the text of each."""

from collections.abc import Callable

from docs.generate.commands import commands_page
from docs.generate.http import http_page
from docs.generate.settings import env_example, settings_page

PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/http.md": http_page,
    "docs/reference/settings.md": settings_page,
    ".env.example": env_example,
}
