"""Slow down who guesses passwords: all workers and replicas count failed logins in one database.

There are three limits. Failures of one account from one address count for everybody. Those of one account
from all addresses, and those of all accounts from one address, do not hold up a user at an address where they
have logged in lately: otherwise anybody could lock out anybody else.
"""

import math
import time
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, delete, desc, func, insert, literal, select, union_all

from auth_app import audit
from auth_app.accounts.known_addresses import (
    KNOWN_FOR,
    current_address,
    hash_key,
    is_known,
    key_of_browser,
)
from auth_app.accounts.usernames import normalise_username
from auth_app.database import db, delete_expired
from auth_app.errors import TooManyAttempts
from auth_app.metrics import LOGINS
from auth_app.models import KnownAddress, LoginFailure

# How many failures cost no time: of an account from one address, of an account, and from an address.
PAIR_ALLOWANCE, ACCOUNT_ALLOWANCE, ADDRESS_ALLOWANCE = 5, 20, 50
# Many people may share an address: the more users log in from it in a day, the more may mistype.
ADDRESS_ALLOWANCE_PER_USER, MAXIMUM_ADDRESS_ALLOWANCE = 10, 1000
MAXIMUM_DELAY = 300  # seconds
MEMORY = 3600  # seconds after which a failure no longer counts
SKEW = 60  # seconds: a failure later than that is of a replica with a wrong clock, and would lock people out

_FULL_DELAY = MAXIMUM_DELAY.bit_length()  # failures above an allowance that make the delay the longest


def _count(name: str, rows: Select[Any], limit: int) -> Select[str, int, Any]:
    """Count rows and find the latest; no more than `limit` are read, as more would change nothing."""
    read = rows.order_by(desc("at")).limit(limit).subquery()
    return select(literal(name), func.count(), func.max(read.c.at)).select_from(read)


_FAILURES = select(LoginFailure.failed_at.label("at")).where(
    LoginFailure.failed_at.between(bindparam("since"), bindparam("until")),
    LoginFailure.id != bindparam("own"),
)
_OF_ACCOUNT = LoginFailure.account == bindparam("account")
_FROM_ADDRESS = LoginFailure.address == bindparam("address")
_LOGINS = select(KnownAddress.last_login_at.label("at")).where(KnownAddress.address == bindparam("address"))
_OF_USER = KnownAddress.user_id == bindparam("user", type_=KnownAddress.user_id.type)
_IS_KNOWN = KnownAddress.last_login_at > bindparam("known_since")
_IS_OF_TODAY = KnownAddress.last_login_at > bindparam("day_since")
COUNTS = union_all(
    _count("pair", _FAILURES.where(_OF_ACCOUNT, _FROM_ADDRESS), PAIR_ALLOWANCE + _FULL_DELAY),
    _count("account", _FAILURES.where(_OF_ACCOUNT), ACCOUNT_ALLOWANCE + _FULL_DELAY),
    _count("address", _FAILURES.where(_FROM_ADDRESS), MAXIMUM_ADDRESS_ALLOWANCE + _FULL_DELAY),
    _count("known", _LOGINS.where(_OF_USER, _IS_KNOWN), 1),
    _count("users", _LOGINS.where(_IS_OF_TODAY), MAXIMUM_ADDRESS_ALLOWANCE // ADDRESS_ALLOWANCE_PER_USER),
)


def begin_attempt(username: str, user_id: uuid.UUID | None, browser: str | None = None) -> "Attempt":
    """Return a login that may go on, by a name and from the address of this request.

    `user_id` is None if no user has the name, and `browser` is the cookie of a browser. One in which the user
    has logged in before is counted by itself, whatever comes from its address. Raises `TooManyAttempts` if it
    comes too soon after others that failed. The caller ends the attempt by one of its methods.
    """
    address = current_address()
    if browser and is_known(user_id, key_of_browser(browser)):
        address = key_of_browser(browser)
    attempt = Attempt(hash_key(f"account {normalise_username(username)}"), address, user_id)
    if attempt.check():
        # Several requests could pass together when a delay is over. So each is recorded as a failure before
        # its password is verified, and then looks again: of those that find each other none goes on. While
        # all allowances last, this is not worth a write, and would refuse a user's own parallel logins.
        attempt.record()
        try:
            attempt.check()
        except TooManyAttempts:
            attempt.withdraw()
            raise
    return attempt


def delay_after(excess: int) -> int:
    """Return how many seconds to wait after the last failure, with `excess` failures above the allowance."""
    return 0 if excess < 0 else min(2 ** min(excess, _FULL_DELAY), MAXIMUM_DELAY)


def address_allowance(users: int) -> int:
    """Return how many failures an address has free from which so many users have logged in within a day."""
    return min(ADDRESS_ALLOWANCE + ADDRESS_ALLOWANCE_PER_USER * users, MAXIMUM_ADDRESS_ALLOWANCE)


@dataclass
class Attempt:
    """A login that is under way: of an account, from an address, or in a browser that is known."""

    account: str
    address: str
    user_id: uuid.UUID | None
    has_failures: bool = False  # of this account from this address
    row: int = 0  # the ID of its own failure, if one was recorded

    def check(self) -> bool:
        """Return whether an allowance is used up. Raises `TooManyAttempts` if a delay is not over."""
        now = time.time()
        counts = self._count(now)
        self.has_failures = counts["pair"][0] > 0
        allowances = {"pair": PAIR_ALLOWANCE}
        if not counts["known"][0]:
            users = counts["users"][0]
            allowances |= {"account": ACCOUNT_ALLOWANCE, "address": address_allowance(users)}
        used_up = {
            name: counts[name][0] - free for name, free in allowances.items() if counts[name][0] >= free
        }
        wait = max(
            (counts[name][1] + delay_after(excess) - now for name, excess in used_up.items()), default=0
        )
        if wait > 0:
            LOGINS.labels("throttled").inc()
            audit.record("login_throttled")
            raise TooManyAttempts(math.ceil(wait))
        return bool(used_up)

    def record(self) -> None:
        """Count the attempt as failed. Commits by itself: what the request does besides is rolled back."""
        if not self.row:
            now = time.time()
            delete_expired(LoginFailure, LoginFailure.failed_at, now - MEMORY)
            row = {"account": self.account, "address": self.address, "failed_at": now}
            self.row = db.session.scalars(insert(LoginFailure).returning(LoginFailure.id), [row]).one()
            db.session.commit()

    def withdraw(self) -> None:
        """Stop counting the attempt, which has not failed. Commits by itself, as `record` does."""
        if self.row:
            db.session.execute(delete(LoginFailure).where(LoginFailure.id == self.row))
            db.session.commit()

    def forget_failures(self) -> None:
        """Forget the failures of this account from this address, now that the password was right.

        Others stay: those of the account are of strangers, and those of the address may be attacks on other
        accounts. The caller commits.
        """
        self.withdraw()
        if self.has_failures:
            pair = (LoginFailure.account == self.account, LoginFailure.address == self.address)
            db.session.execute(delete(LoginFailure).where(*pair))

    def _count(self, now: float) -> dict[str, tuple[int, float]]:
        """Return how many rows of each kind there are, as far as it matters, and the time of the latest."""
        parameters = {
            "account": self.account,
            "address": self.address,
            "user": self.user_id,
            "own": self.row,
            "since": now - MEMORY,
            "until": now + SKEW,
            "known_since": now - KNOWN_FOR,
            "day_since": now - 86400,
        }
        return {name: (count, latest) for name, count, latest in db.session.execute(COUNTS, parameters)}
