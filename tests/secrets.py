"""Check that no test and no process logs a secret."""

import logging
import re
from typing import Any

# Every password, token and client secret that a test has sent or received.
SECRETS = {"password123", "password456", "password789"}
_SECRET_MEMBERS = {
    "access_token",
    "client_secret",
    "current_password",
    "new_password",
    "password",
    "refresh_token",
    "token",
}
_SECRET_FORMS = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+|\$argon2|PRIVATE KEY|(?:scrypt|pbkdf2):")


def remember(members: Any) -> None:
    """Record the secrets among the members of a request or a response."""
    if isinstance(members, dict):
        values = {
            value for name, value in members.items() if name in _SECRET_MEMBERS and isinstance(value, str)
        }
        SECRETS.update(value for value in values if len(value) >= 8)


def find_secrets(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text] + _SECRET_FORMS.findall(text)


class LogWatch(logging.Handler):
    """Collects everything that is logged while a test runs, including tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
