"""Serve the signed Token Status Lists of revoked sessions at `/.well-known/status-list`.

A list depends only on the database, so that verifiers can tell which of two versions is newer, whichever
replica served them. Section numbers refer to draft-ietf-oauth-status-list.
"""

import gzip
import math
import time
import zlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from sqlalchemy import bindparam, select
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound

from auth_app.accounts.session_ends import set_pending_bits
from auth_app.accounts.status_indexes import list_ids, mark_changed
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.keys.signing import sign_jwt
from auth_app.keys.signing_key import current_signing_key
from auth_app.models import Session, StatusList
from auth_app.oauth.backchannel_logout import check_for_notices
from flask_resource_server.tokens.status_list import LIST_TYPE, MEDIA_TYPE, PATH

blueprint = Blueprint("status_lists", __name__, url_prefix=PATH)

_REVOKED_SINCE = select(Session.status_index, Session.revocation_mark).where(
    Session.status_list_id == bindparam("list"),
    Session.revoked_at.is_not(None),
    # Nothing that was revoked after the list's row was read, so that all replicas serve the same version.
    Session.revocation_mark.between(bindparam("since"), bindparam("up_to")),
)


@dataclass(frozen=True)
class _SignedList:
    """A list as it was last signed, which is updated when it changes."""

    signed_for: tuple[str, float, str]  # version, time of issue, key ID
    period: int  # the start of the period in which all of its bits were read
    up_to: float  # the time of the last change that it contains
    bits: bytearray
    token: str
    compressed: bytes  # the token, gzipped


def init_app(app: Flask) -> None:
    """Serve the lists from `app`."""
    app.extensions["signed_status_lists"] = {}
    app.register_blueprint(blueprint)


def uri_of(list_id: int) -> str:
    """Return the URL of a list, which is also its `sub`."""
    return f"{current_settings().issuer}{PATH}/{list_id}"


@blueprint.get("")
def show_status_lists() -> AnyResponse:
    """Return the URLs of all lists that a token may refer to (section 9), or 304 if unchanged."""
    set_pending_bits()
    ids = list_ids(int(time.time()))
    signed = current_app.extensions["signed_status_lists"]
    for gone in signed.keys() - ids:
        signed.pop(gone, None)
    response = jsonify(status_lists=[uri_of(list_id) for list_id in ids])
    response.headers.update(_cache_control())
    response.add_etag()
    return response.make_conditional(request)


@blueprint.get("/<int(max=999999999):list_id>")
def show_status_list(list_id: int) -> AnyResponse:
    """Return a signed list (section 8.1), or 304 if unchanged."""
    check_for_notices()
    set_pending_bits()
    status_list = db.session.get(StatusList, list_id)
    if status_list is None:
        raise NotFound
    if status_list.changed_at < _start_of_period():
        # Reissue it by a change in the database. By the clock alone, a revocation that is being committed
        # right now could end up in a list that does not look newer.
        mark_changed([list_id])
        db.session.commit()
        status_list = db.session.get(StatusList, list_id, populate_existing=True)
        if status_list is None:  # a login has just deleted it, because it was closed and empty
            raise NotFound
    signed = _sign_list(status_list)
    response = Response(signed.token, mimetype=MEDIA_TYPE, headers=_cache_control())
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.data = signed.compressed
        response.content_encoding = "gzip"
    response.add_etag()
    return response.make_conditional(request)


def _sign_list(status_list: StatusList) -> _SignedList:
    """Return a list with its JWT, which is signed again when the list or the key has changed.

    Its `iat` is the time of the last change, so that verifiers can tell which of two versions is newer.
    """
    settings, signed = current_settings(), current_app.extensions["signed_status_lists"]
    key, period = current_signing_key().get(), _start_of_period()
    # Not later than now, even if the last change was made by a replica whose clock is ahead. Until our clock
    # catches up, the list is signed again for each request.
    issued_at = min(status_list.changed_at, time.time())
    signed_for = status_list.version, issued_at, key.kid
    known: _SignedList | None = signed.get(status_list.id)
    if known is None or known.signed_for != signed_for:
        bits = _read_bits(status_list, known if known and known.period == period else None)
        claims = {
            "sub": uri_of(status_list.id),
            "iat": issued_at,
            "exp": period + settings.status_list_lifetime,
            "ttl": settings.status_list_ttl,
            "status_list": {"bits": 1, "lst": _pack(bits)},
        }
        token = sign_jwt(claims, LIST_TYPE, key)
        compressed = gzip.compress(token.encode(), mtime=0)
        known = _SignedList(signed_for, period, status_list.changed_at, bits, token, compressed)
        signed[status_list.id] = known
    return known


def _start_of_period() -> int:
    """Return the earliest acceptable time of issue, so that at least half of a list's lifetime remains."""
    half = current_settings().status_list_lifetime // 2
    return int(time.time()) // half * half


def _read_bits(status_list: StatusList, known: _SignedList | None) -> bytearray:
    """Return one bit for each index, 1 if the session is revoked (sections 4.1, 7.1).

    Reads only the changes since `known`, so that a revocation is cheap even in a long list.
    """
    size = math.ceil(status_list.size / 8)
    if status_list.is_revoked:
        return bytearray(b"\xff") * size
    if known and known.up_to <= status_list.changed_at:
        bits, marks = _add_revoked(status_list, known.up_to, known.bits.copy())
        # If the last known change is missing, a failover has lost it, and nothing in `known` is reliable.
        if known.up_to in marks:
            return bits
    return _add_revoked(status_list, 0.0, bytearray(size))[0]


def _add_revoked(
    status_list: StatusList, since: float, bits: bytearray
) -> tuple[bytearray, set[float | None]]:
    """Set the bits of the sessions revoked since a time, and return them with the revocation marks found."""
    marks = set()
    parameters = {"list": status_list.id, "since": since, "up_to": status_list.changed_at}
    for index, mark in db.session.execute(_REVOKED_SINCE, parameters):
        bits[index >> 3] |= 1 << (index & 7)
        marks.add(mark)
    return bits, marks


def _pack(bits: bytearray) -> str:
    return urlsafe_b64encode(zlib.compress(bits, 9)).rstrip(b"=").decode()


def _cache_control() -> dict[str, str]:
    return {"Cache-Control": f"public, max-age={current_settings().status_list_ttl}"}
