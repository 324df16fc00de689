"""Check what applications are told of a user besides the user name: a name and an email address."""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from shared.errors import InvalidRequest

# Whether an address exists only its mail server knows: this refuses what cannot be one.
_EMAIL = re.compile(r"[^@ ]+@[^@ ]+")


class Profile(TypedDict, total=False):
    """Columns of `User` that are given or changed; None takes a value away."""

    name: str | None
    email: str | None
    email_verified: bool


def complete_profile(given: Mapping[str, Any], email_before: str | None = None) -> dict[str, Any]:
    """Return the columns that are given, with `email_verified` where it follows from them.

    What was verified is the address before: a new one is unverified unless `email_verified` comes with it.
    Raises `InvalidRequest`.
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
