"""Remember from which addresses users log in: there the failures of strangers do not hold them up."""

import hashlib
import re
import time
from ipaddress import IPv6Address, ip_address, ip_network

from flask import request
from sqlalchemy import delete, insert, select, update

from auth_app.database import db, delete_expired
from auth_app.models import KnownAddress, User

KNOWN_FOR = 30 * 86400  # seconds after the last login from an address
ADDRESSES_PER_USER = 50  # the one that was used least lately makes room for another

_WITH_PORT = re.compile(r"^(?:([0-9.]+)|\[([0-9a-f:.]+)\]):[0-9]+$", re.IGNORECASE)


def remember_address(user: User) -> None:
    """Record that a user has logged in from the address of this request.

    The caller has locked the user's row in this transaction, as `start_session` does, and commits.
    """
    now = int(time.time())
    row = {"user_id": user.id, "address": current_address(), "last_login_at": now}
    known = update(KnownAddress).where(
        KnownAddress.user_id == user.id, KnownAddress.address == row["address"]
    )
    if db.session.scalar(known.values(last_login_at=now).returning(KnownAddress.address)) is None:
        delete_expired(KnownAddress, KnownAddress.last_login_at, now - KNOWN_FOR)
        _make_room(user)
        db.session.execute(insert(KnownAddress), [row])


def current_address() -> str:
    """Return a digest of the address of this request; of IPv6, of its network of 64 bits.

    Whoever has one address of such a network has the others too. Addresses of IPv4 on a socket of IPv6 count
    as what they are.
    """
    text = _WITH_PORT.sub(r"\1\2", request.remote_addr or "")  # as some proxies write it
    try:
        address = ip_address(text)
    except ValueError:  # a socket of the file system has none
        return hash_key(f"address {text}")
    if isinstance(address, IPv6Address):
        return hash_key(f"address {address.ipv4_mapped or ip_network((address, 64), strict=False)}")
    return hash_key(f"address {address}")


def hash_key(text: str) -> str:
    """Return a text as a key of fixed length, which does not show what somebody typed."""
    return hashlib.sha256(text.encode()).hexdigest()


def _make_room(user: User) -> None:
    of_user = KnownAddress.user_id == user.id
    newest_first = select(KnownAddress.address).where(of_user).order_by(KnownAddress.last_login_at.desc())
    surplus = newest_first.offset(ADDRESSES_PER_USER - 1)
    db.session.execute(
        delete(KnownAddress)
        .where(of_user, KnownAddress.address.in_(surplus))
        .execution_options(synchronize_session=False)
    )
