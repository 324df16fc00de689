"""Normalise user names, so that every spelling of a name finds the same user."""

import unicodedata


def normalise_username(username: str) -> str:
    """Return a user name as it is stored, compared and throttled.

    Phones capitalise the first letter and add a space after a completed word, and some keyboards enter
    full-width letters.
    """
    return unicodedata.normalize("NFKC", username).casefold().strip()
