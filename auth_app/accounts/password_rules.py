"""Check new passwords: the rules for length and common passwords (NIST SP 800-63B section 3.1.1.2)."""

from functools import cache
from pathlib import Path

from auth_app.accounts.passwords import normalise
from auth_app.accounts.usernames import normalise_username
from auth_app.errors import InvalidPassword

MINIMUM_LENGTH, MAXIMUM_LENGTH = 8, 128  # characters, after NFKC


def check_new_password(username: str, password: str) -> None:
    """Raise `InvalidPassword`, with the rule that it breaks, for a password that may not be chosen."""
    password = normalise(password)
    if len(password) < MINIMUM_LENGTH:
        raise InvalidPassword(
            f"The new password must have {MINIMUM_LENGTH} characters or more.", "password_too_short"
        )
    if len(password) > MAXIMUM_LENGTH:
        raise InvalidPassword(
            f"The new password must have {MAXIMUM_LENGTH} characters or fewer.", "password_too_long"
        )
    if normalise_username(password) == normalise_username(username):
        raise InvalidPassword("The new password must not be the user name.", "password_is_username")
    if password.casefold() in _common_passwords():
        raise InvalidPassword(
            "The new password is one of the most common: choose another one.", "password_is_common"
        )


@cache
def _common_passwords() -> frozenset[str]:
    """Return the 3,000 most common passwords of eight or more characters from the list in Django."""
    path = Path(__file__).with_name("common_passwords.txt")
    return frozenset(path.read_text().casefold().split())
