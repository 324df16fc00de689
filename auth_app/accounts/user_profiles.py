"""Validate the profile of a user: the full name and email address that `/userinfo` returns."""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from shared.errors import InvalidRequest

# Only the mail server knows whether an address exists. This refuses what cannot be one.
_EMAIL = re.compile(r"[^@ ]+@[^@ ]+")


class Profile(TypedDict, total=False):
    """Columns of `User` to set. None removes a value."""

    name: str | None
    email: str | None
    email_verified: bool


def complete_profile(given: Mapping[str, Any], email_before: str | None = None) -> dict[str, Any]:
    """Return the given columns, with `email_verified` added if the email address changes.

    A new address is unverified, unless `email_verified` is given too. Raises `InvalidRequest`.
    """
    profile = {name: given[name] for name in Profile.__annotations__ if name in given}
    _check_name(profile.get("name"))
    _check_email(profile.get("email"))
    email = profile.get("email", email_before)
    if email != email_before:
        profile.setdefault("email_verified", False)
    if email is None and profile.get("email_verified"):
        raise InvalidRequest("There is no email address that email_verified could apply to.")
    return profile


def _check_name(name: str | None) -> None:
    if name is not None and not (name.isprintable() and name.strip() and len(name) <= 200):
        raise InvalidRequest("A name must have 1 to 200 printable characters.")


def _check_email(email: str | None) -> None:
    if email is not None and not (email.isprintable() and _EMAIL.fullmatch(email) and len(email) <= 254):
        raise InvalidRequest(
            "An email address must have one @ with text on both sides, no spaces and at most 254 characters."
        )
