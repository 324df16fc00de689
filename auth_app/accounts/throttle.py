"""Throttle password guessing: limit failed logins by account and address, counted in the database.

There are three limits: for one account from one address, for one account from all addresses, and for all
accounts from one address. The last two do not apply to users at an address, or in a browser, from which they
have logged in recently: otherwise anyone could lock out anyone else.
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

# Failures without a delay: for an account from one address, for an account, and for an address.
PAIR_ALLOWANCE, ACCOUNT_ALLOWANCE, ADDRESS_ALLOWANCE = 5, 20, 50
# Many users may share an address: the more of them log in from it in a day, the more typing errors to allow.
ADDRESS_ALLOWANCE_PER_USER, MAXIMUM_ADDRESS_ALLOWANCE = 10, 1000
MAXIMUM_DELAY = 300  # seconds
MEMORY = 3600  # seconds for which a failure counts
SKEW = 60  # seconds: ignore failures further in the future, from a replica whose clock is wrong

_FULL_DELAY = MAXIMUM_DELAY.bit_length()  # failures above an allowance that lead to the maximum delay


def _count(name: str, rows: Select[Any], limit: int) -> Select[str, int, Any]:
    """Select the number of rows, up to `limit`, and the latest time: more rows would change nothing."""
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
    """Check the limits for a login from the address of this request, and return the attempt.

    `user_id` is None if no user has the name. `browser` is the long-lived cookie of a browser. A browser in
    which the user has logged in before has a limit of its own, apart from its address. Raises
    `TooManyAttempts` if a delay has not passed. May commit. The caller must finish the attempt with `record`,
    `withdraw` or `forget_failures`.
    """
    address = current_address()
    if browser and is_known(user_id, key_of_browser(browser)):
        address = key_of_browser(browser)
    attempt = Attempt(hash_key(f"account {normalise_username(username)}"), address, user_id)
    if attempt.check():
        # Several requests could pass at the same time when a delay is over. So record each as a failure
        # before its password is verified, and check again: of those that see each other, none continues.
        # While all allowances last, this is not worth a write, and would refuse a user's parallel logins.
        attempt.record()
        try:
            attempt.check()
        except TooManyAttempts:
            attempt.withdraw()
            raise
    return attempt


def delay_after(excess: int) -> int:
    """Return the seconds to wait after the last failure, with `excess` failures above the allowance."""
    return 0 if excess < 0 else min(2 ** min(excess, _FULL_DELAY), MAXIMUM_DELAY)


def address_allowance(users: int) -> int:
    """Return the failures without a delay for an address from which `users` have logged in within a day."""
    return min(ADDRESS_ALLOWANCE + ADDRESS_ALLOWANCE_PER_USER * users, MAXIMUM_ADDRESS_ALLOWANCE)


@dataclass
class Attempt:
    """A login in progress. `account` and `address` are digests; `address` may stand for a known browser."""

    account: str
    address: str
    user_id: uuid.UUID | None
    has_failures: bool = False  # of this account from this address
    row: int = 0  # the ID of the failure recorded for this attempt, if any

    def check(self) -> bool:
        """Return whether an allowance is used up. Raises `TooManyAttempts` if a delay has not passed."""
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
        """Count the attempt as failed. Commits, because a refused request rolls back."""
        if not self.row:
            now = time.time()
            delete_expired(LoginFailure, LoginFailure.failed_at, now - MEMORY)
            row = {"account": self.account, "address": self.address, "failed_at": now}
            self.row = db.session.scalars(insert(LoginFailure).returning(LoginFailure.id), [row]).one()
            db.session.commit()

    def withdraw(self) -> None:
        """Stop counting the attempt, which has not failed. Commits if it was recorded."""
        if self.row:
            db.session.execute(delete(LoginFailure).where(LoginFailure.id == self.row))
            db.session.commit()

    def forget_failures(self) -> None:
        """Delete the failures of this account from this address, after the right password.

        Other failures still count: those of the account came from elsewhere, and those of the address may be
        attacks on other accounts. The caller commits.
        """
        self.withdraw()
        if self.has_failures:
            pair = (LoginFailure.account == self.account, LoginFailure.address == self.address)
            db.session.execute(delete(LoginFailure).where(*pair))

    def _count(self, now: float) -> dict[str, tuple[int, float]]:
        """Return the number of rows behind each limit, up to its cap, and the time of the latest row."""
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
