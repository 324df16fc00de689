"""The tests that security.md and conformance.md name exist, and the figures in security.md match the code."""

import re

import pytest

from auth_app.accounts import decoys, known_addresses, password_rules, throttle
from auth_app.oauth import authorization_codes
from auth_app.pages import browsers
from auth_app.settings import AuthSettings
from course_app.settings import CourseSettings
from flask_resource_server.documents.fetching import TIMEOUT
from flask_resource_server.tokens.checks import LEEWAY
from tests.figures import find_figures
from tests.servers import ROOT

PAGES = [ROOT / "docs/explanation/security.md", ROOT / "docs/reference/conformance.md"]
NAMED = {page.name: re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page.read_text()) for page in PAGES}


def test_requirements_name_their_tests() -> None:
    assert all(len(named) > 20 for named in NAMED.values())
    assert not any("TODO" in page.read_text() for page in PAGES)


@pytest.mark.parametrize(("file", "name"), sorted({pair for named in NAMED.values() for pair in named}))
def test_named_test_exists(file: str, name: str) -> None:
    found = [path.read_text() for path in (ROOT / "tests").glob(f"*/{file}")]  # some names are in two layers
    assert sum(f"def {name}(" in text for text in found) == 1


def test_named_code_exists() -> None:
    named = set(re.findall(r"`(\w+/[\w/]+\.py)`", PAGES[1].read_text()))

    assert len(named) > 15
    assert {
        path for path in named if not any((ROOT / top / path).exists() for top in ("", "auth_app"))
    } == set()


DAY, HOUR, MINUTE = 86400, 3600, 60
AUTH, COURSE = AuthSettings.model_fields, CourseSettings.model_fields
FIGURES = [
    (r"of one account from one address \| (\d+) \|", throttle.PAIR_ALLOWANCE),
    (r"of one account from all addresses \| (\d+) \|", throttle.ACCOUNT_ALLOWANCE),
    (r"of all accounts from one address \| (\d+), plus", throttle.ADDRESS_ALLOWANCE),
    (r"plus (\d+) for each user who signed in", throttle.ADDRESS_ALLOWANCE_PER_USER),
    (r"within a day, ([\d,]+) at most", throttle.MAXIMUM_ADDRESS_ALLOWANCE),
    (r"attacker gets ([\d,]+) guesses an hour against", throttle.MAXIMUM_ADDRESS_ALLOWANCE),
    (r"and so on up to (\d+) minutes", throttle.MAXIMUM_DELAY / MINUTE),
    (r"the user wait there, (\d+) minutes after", throttle.MAXIMUM_DELAY / MINUTE),
    (r"not signed in (?:from it )?for (\d+) days", known_addresses.KNOWN_FOR / DAY),
    (r"`__Host-auth_browser`[^|]*\|[^|]*\| after (\d+) days", browsers._BROWSER_AGE / DAY),
    (r"hash of every kind in use, (\w+) at most", decoys.MAXIMUM_KINDS),
    (r"(\d+) hours after its last use", AUTH["browser_session_idle"].default / HOUR),
    (r"not been used for (\d+) hours", AUTH["browser_session_idle"].default / HOUR),
    (r"(\d+) days after the sign-in", AUTH["browser_session_lifetime"].default / DAY),
    (r"used for 12 hours or is (\d+) days old", AUTH["browser_session_lifetime"].default / DAY),
    (r"in its `aud`, for (\d+) minutes", AUTH["access_token_lifetime"].default / MINUTE),
    (r"until it ends: after (\d+) days", AUTH["refresh_token_lifetime"].default / DAY),
    (r"retries within (\w+) seconds", AUTH["refresh_token_grace"].default),
    (r"At most (\d+) sessions of a user", AUTH["sessions_per_user"].default),
    (r"valid for (\w+) minute, one use", authorization_codes.LIFETIME / MINUTE),
    (r"within (\w+) a minute by default \(`STATUS_LIST_TTL`", AUTH["status_list_ttl"].default / MINUTE),
    (r"at most one fetch every (\w+) seconds", COURSE["jwks_cooldown"].default),
    (r"for at most (\w+) seconds, and all others", TIMEOUT),
    (r"As RFC 8725; times within (\d+) s", LEEWAY),
    (r"(\d+) to 128 characters, no composition", password_rules.MINIMUM_LENGTH),
    (r"8 to (\d+) characters, no composition", password_rules.MAXIMUM_LENGTH),
    (r"Reject the ([\d,]+) commonest passwords", len(password_rules._common_passwords())),
]


@pytest.mark.parametrize(("pattern", "value"), FIGURES, ids=[pattern for pattern, _ in FIGURES])
def test_figure_matches_the_code(pattern: str, value: float) -> None:
    assert set(find_figures(PAGES[0].read_text(), pattern)) == {value}


def test_failures_count_for_an_hour() -> None:
    assert "counted for an hour" in PAGES[0].read_text()
    assert throttle.MEMORY == HOUR
