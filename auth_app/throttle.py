"""Slow down who guesses passwords: all workers and replicas count failed logins in one database."""

import hashlib
import math
import time
from ipaddress import IPv6Address, ip_address, ip_network

from flask import request
from sqlalchemy import bindparam, delete, func, insert, select, union_all

from auth_app import audit
from auth_app.database import db, delete_expired
from auth_app.errors import TooManyAttempts
from auth_app.metrics import LOGINS
from auth_app.models import LoginFailure
from auth_app.usernames import normalise_username

# How many failures cost no time. Many people may share an address, so that more is allowed there.
ACCOUNT_ALLOWANCE = 5
ADDRESS_ALLOWANCE = 50
MAXIMUM_DELAY = 300  # seconds: nobody is locked out for longer by what others do
MEMORY = 3600  # seconds after which a failure counts no longer
SKEW = 60  # seconds: a failure later than that is of a replica with a wrong clock, and would lock people out

_RECENT = union_all(
    *(
        select(column, func.count(), func.max(LoginFailure.failed_at))
        .where(
            column == bindparam(name),
            LoginFailure.failed_at.between(bindparam("since"), bindparam("until")),
        )
        .group_by(column)
        for name, column in (("account", LoginFailure.account), ("address", LoginFailure.address))
    )
)


def check_throttle(username: str) -> bool:
    """Return whether logins by this name have failed lately.

    Raises `TooManyAttempts` while one by this name, or from this address, would come too soon.
    """
    allowances = {_account(username): ACCOUNT_ALLOWANCE, _address(): ADDRESS_ALLOWANCE}
    now = time.time()
    period = {"since": now - MEMORY, "until": now + SKEW}
    keys = {"account": _account(username), "address": _address()}
    rows = db.session.execute(_RECENT, {**keys, **period}).all()
    wait = max(
        (latest + delay_after(count - allowances[key]) - now for key, count, latest in rows), default=0
    )
    if wait > 0:
        LOGINS.labels("throttled").inc()
        audit.record("login_throttled")
        raise TooManyAttempts(math.ceil(wait))
    return any(key == _account(username) for key, _, _ in rows)


def delay_after(excess: int) -> int:
    """Return how many seconds to wait after the last failure, with `excess` failures above the allowance."""
    return 0 if excess < 0 else min(2 ** min(excess, 30), MAXIMUM_DELAY)


def record_failure(username: str) -> None:
    """Count a failed login against the account and the address."""
    now = time.time()
    delete_expired(LoginFailure, LoginFailure.failed_at, now - MEMORY)
    failure = {"account": _account(username), "address": _address(), "failed_at": now}
    db.session.execute(insert(LoginFailure), [failure])
    db.session.commit()


def forget_failures(username: str) -> None:
    """Let an account start anew; the address does not, or one good account would pay for attacks on all."""
    db.session.execute(delete(LoginFailure).where(LoginFailure.account == _account(username)))
    db.session.commit()


def _account(username: str) -> str:
    return _hash(f"account {normalise_username(username)}")


def _address() -> str:
    text = request.remote_addr or ""
    try:
        address = ip_address(text)
    except ValueError:  # a socket of the file system has none
        return _hash(f"address {text}")
    if isinstance(address, IPv6Address):
        # Whoever has one address has the rest of its /64 too, but for those of IPv4 in the clothes of IPv6.
        return _hash(f"address {address.ipv4_mapped or ip_network((address, 64), strict=False)}")
    return _hash(f"address {address}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
