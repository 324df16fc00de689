"""How many passwords an attacker can try, measured with simulated time and compared with security.md."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.throttle import begin_attempt
from auth_app.errors import TooManyAttempts
from auth_app.models import LoginFailure
from tests.conftest import change_row, find_user
from tests.servers import ROOT

HOUR = 3600
Names = Callable[[int], tuple[str, str]]  # the account and the address of the n-th guess

ATTACKS: dict[str, Names] = {
    "one account from 1 address": lambda _: ("student1", "198.51.100.1"),
    "one account from 100 addresses": lambda n: ("student1", f"198.51.100.{n % 100}"),
    "one account from 10,000 addresses": lambda n: ("student1", f"2001:db8:0:{n % 10_000:x}::1"),
    "many accounts from 1 address": lambda n: (f"user{n}", "198.51.100.1"),
}


SECURITY = (ROOT / "docs/explanation/security.md").read_text()
DOCUMENTED = {
    name: (int(first), int(later))
    for name, first, later in re.findall(
        r"^\| ((?:one|many) .+?) \| (\d+) \| (\d+) \|$", SECURITY, re.MULTILINE
    )
}


class Clock:
    """A clock that moves only by `advance`, which ages the stored failures so that a test need not wait."""

    def __init__(self, client: FlaskClient) -> None:
        self.now = 0.0
        self._client, self._moved_at = client, time.time()

    def advance(self, seconds: float) -> None:
        passed, self._moved_at = time.time() - self._moved_at, time.time()
        older = LoginFailure.failed_at - seconds + passed
        change_row(self._client, sa.update(LoginFailure).values(failed_at=older))
        self.now += seconds


def guess(client: FlaskClient, attack: Names, user: uuid.UUID) -> Iterator[float]:
    """Guess as soon as the throttle allows it, endlessly, and yield the time of each guess in seconds."""
    clock = Clock(client)
    for number in count():
        account, address = attack(number)
        while True:
            environ = {"REMOTE_ADDR": address, "shared.request_id": "guess"}
            with client.application.test_request_context(environ_overrides=environ):
                try:
                    begin_attempt(account, user if account == "student1" else None).record()
                    break
                except TooManyAttempts as refusal:
                    seconds = refusal.seconds
            clock.advance(seconds)
        yield clock.now


@pytest.mark.parametrize("name", ATTACKS)
def test_number_of_guesses_matches_the_documentation(name: str, auth: FlaskClient) -> None:
    first = later = 0
    for at in guess(auth, ATTACKS[name], find_user(auth, "student1").id):
        if at >= 11 * HOUR:
            break
        first += at < HOUR
        later += at >= HOUR

    assert DOCUMENTED.get(name) == (first, round(later / 10))
