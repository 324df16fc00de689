"""Publish at `/.well-known/status-list` which sessions were revoked, in signed Token Status Lists.

The lists follow from the database and the clock alone, so that every worker of every replica serves the same
bytes. The sections are those of draft-ietf-oauth-status-list.
"""

import gzip
import math
import time
import zlib
from base64 import urlsafe_b64encode

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy import bindparam, select
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound

from auth_app.access_tokens import sign_jwt
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session, StatusList
from auth_app.signing_key import SigningKey
from auth_app.status_places import list_ids
from shared.status_list import LIST_TYPE, MEDIA_TYPE, PATH

blueprint = Blueprint("status_lists", __name__, url_prefix=PATH)

_REVOKED = select(Session.status_index).where(
    Session.status_list_id == bindparam("list"), Session.revoked_at.is_not(None)
)


def init_app(app: Flask) -> None:
    """Serve the lists from `app`."""
    app.extensions["signed_status_lists"] = {}  # by ID: what a list was signed for, and the JWT
    app.register_blueprint(blueprint)


def uri_of(list_id: int) -> str:
    """Return the address of a list, which is its name too."""
    return f"{current_settings().issuer}{PATH}/{list_id}"


@blueprint.get("")
def show_status_lists() -> tuple[dict[str, object], dict[str, str]]:
    """Return the lists in which a token may have its place (section 9)."""
    uris = [uri_of(list_id) for list_id in list_ids(int(time.time()))]
    return {"status_lists": uris}, _cache_control()


@blueprint.get("/<int(max=999999999):list_id>")
def show_status_list(list_id: int) -> AnyResponse:
    """Return a signed list (section 8.1), or 304 to whoever has it already."""
    status_list = db.session.get(StatusList, list_id)
    if status_list is None:
        raise NotFound
    response = Response(_sign_list(status_list), mimetype=MEDIA_TYPE, headers=_cache_control())
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.data = gzip.compress(response.data, mtime=0)
        response.content_encoding = "gzip"
    response.add_etag()
    return response.make_conditional(request)


def _sign_list(status_list: StatusList) -> str:
    """Return the JWT of a list: signed anew when it or the key has changed, or half of its life is over."""
    settings, signed = current_settings(), current_app.extensions["signed_status_lists"]
    signing_key: SigningKey = current_app.extensions["signing_key"]
    key = signing_key.get()
    half = settings.status_list_lifetime // 2
    issued_at = int(time.time()) // half * half
    state = status_list.version, issued_at, key.kid
    if signed.get(status_list.id, ("", ""))[0] != state:
        claims = {
            "sub": uri_of(status_list.id),
            "iat": issued_at,
            "exp": issued_at + settings.status_list_lifetime,
            "ttl": settings.status_list_ttl,
            "status_list": {"bits": 1, "lst": _pack(status_list)},
        }
        signed[status_list.id] = state, sign_jwt(claims, LIST_TYPE, key)
    token: str = signed[status_list.id][1]
    return token


def _pack(status_list: StatusList) -> str:
    """Return one bit for each place, 1 where the session was revoked (sections 4.1, 4.2, 7.1)."""
    bits = bytearray(math.ceil(status_list.size / 8))
    for index in db.session.scalars(_REVOKED, {"list": status_list.id}):
        bits[index >> 3] |= 1 << (index & 7)
    return urlsafe_b64encode(zlib.compress(bits, 9)).rstrip(b"=").decode()


def _cache_control() -> dict[str, str]:
    return {"Cache-Control": f"public, max-age={current_settings().status_list_ttl}"}
