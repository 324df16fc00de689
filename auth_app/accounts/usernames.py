"""Spell user names one way, wherever they come from."""

import unicodedata


def normalise_username(username: str) -> str:
    """Return a user name as it is stored, compared and counted.

    Phones capitalise the first letter and add a space after a completed word, and some keyboards have
    full-width letters.
    """
    return unicodedata.normalize("NFKC", username).casefold().strip()
