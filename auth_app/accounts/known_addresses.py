"""Remember the addresses and browsers that users log in from, where the throttle ignores others' failures."""

import hashlib
import re
import time
import uuid
from ipaddress import IPv6Address, ip_address, ip_network

from flask import request
from sqlalchemy import bindparam, delete, insert, select, update

from auth_app.database import db, delete_expired
from auth_app.models import KnownAddress, User

KNOWN_FOR = 30 * 86400  # seconds after the last login from an address
ADDRESSES_PER_USER = 50  # beyond that, the least recently used one is forgotten

_SEEN_AGAIN = (
    update(KnownAddress)
    .where(KnownAddress.user_id == bindparam("user"), KnownAddress.address == bindparam("key"))
    .values(last_login_at=bindparam("now"))
    .returning(KnownAddress.address)
    .execution_options(synchronize_session=False)
)
_WITH_PORT = re.compile(r"^(?:([0-9.]+)|\[([0-9a-f:.]+)\]):[0-9]+$", re.IGNORECASE)


def remember_address(user: User) -> None:
    """Record that a user has logged in from the address of this request.

    The caller must hold the lock on the user's row, as after `claim_user`, and commits.
    """
    _remember(user, current_address())


def remember_browser(user: User, cookie: str) -> None:
    """Record that a user has logged in from the browser with this cookie, as `remember_address` does.

    OWASP calls this a device cookie: however many logins fail elsewhere, the user can log in from here.
    """
    _remember(user, key_of_browser(cookie))


def is_known(user_id: uuid.UUID | None, key: str) -> bool:
    """Return whether a user has logged in recently from the address or browser that `key` stands for."""
    known = select(KnownAddress.address).where(
        KnownAddress.user_id == (user_id or uuid.UUID(int=0)),
        KnownAddress.address == key,
        KnownAddress.last_login_at > time.time() - KNOWN_FOR,
    )
    return db.session.scalar(known) is not None


def _remember(user: User, key: str) -> None:
    now = int(time.time())
    row = {"user_id": user.id, "address": key, "last_login_at": now}
    if db.session.scalar(_SEEN_AGAIN, {"user": user.id, "key": key, "now": now}) is None:
        delete_expired(KnownAddress, KnownAddress.last_login_at, now - KNOWN_FOR)
        _make_room(user)
        db.session.execute(insert(KnownAddress), [row])


def current_address() -> str:
    """Return a digest of the client's IPv4 address, or of its IPv6 /64 network.

    One host usually has a whole /64 to choose addresses from. IPv4-mapped IPv6 addresses count as IPv4.
    """
    text = _WITH_PORT.sub(r"\1\2", request.remote_addr or "")  # some proxies add the port
    try:
        address = ip_address(text)
    except ValueError:  # requests on a Unix socket have no address
        return hash_key(f"address {text}")
    if isinstance(address, IPv6Address):
        return hash_key(f"address {address.ipv4_mapped or ip_network((address, 64), strict=False)}")
    return hash_key(f"address {address}")


def key_of_browser(cookie: str) -> str:
    """Return a digest of a browser's long-lived cookie."""
    return hash_key(f"browser {cookie}")


def shorten_address() -> str:
    """Return the network of the client's address, as the account page shows it: IPv4 /24 or IPv6 /48."""
    try:
        address = ip_address(_WITH_PORT.sub(r"\1\2", request.remote_addr or ""))
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 48), strict=False).network_address)
    text = str(address.ipv4_mapped if isinstance(address, IPv6Address) else address)
    return f"{text.rpartition('.')[0]}.x"


def hash_key(text: str) -> str:
    """Return the SHA-256 of a text, as a key of fixed length that does not show what the user typed."""
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
