"""Authenticate clients by JWTs that they sign: `private_key_jwt` (RFC 7523, OpenID Connect Core 9)."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from flask import current_app, request
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.accounts.clients import ASSERTION, find_client
from auth_app.current import current_settings
from auth_app.database import db, delete_expired
from auth_app.errors import InvalidClient
from auth_app.models import Client, ClientAssertion
from flask_resource_server.documents.fetching import Fetcher
from flask_resource_server.tokens.checks import LEEWAY, is_time
from flask_resource_server.tokens.jws import UnverifiedJws, parse_jws
from flask_resource_server.tokens.key_set import parse_key_set
from flask_resource_server.tokens.keys import ALGORITHM, UnusableKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
MAXIMUM_LIFETIME = 3600  # seconds until `exp`: as long is its `jti` remembered

_MAXIMUM_KEY_SET = 64 * 1024  # bytes
_FRESH_FOR = 300  # seconds for which a fetched key set is used
_MAXIMUM_AGE = 86400  # seconds for which keys count that cannot be fetched again
_PATIENCE = 4  # seconds to wait for a fetch that another request has begun
_COOLDOWN = 10  # seconds without another fetch, whatever keys assertions name

Keys = Mapping[str, RSAPublicKey]

_logger = logging.getLogger(__name__)


def find_client_of_assertion(body: dict[str, Any]) -> Client:
    """Return the client that has signed `client_assertion`. Raises `InvalidClient`."""
    client = None
    try:
        assertion = parse_jws(body.get("client_assertion", ""))
        client_id = assertion.claims.get("sub")
        client = find_client(client_id) if isinstance(client_id, str) else None
        _check(client, assertion, body)
    except (ValueError, _Refused) as error:
        audit.record("client_refused", client=client.id if client else None, reason=str(error))
        raise InvalidClient from None
    assert client
    _use_once(client, assertion.claims)
    return client


class _Refused(Exception):
    """Why an assertion is not accepted, for the log."""


def _check(client: Client | None, assertion: UnverifiedJws, body: dict[str, Any]) -> None:
    """Make the checks of RFC 7523 section 3. Raises `_Refused`."""
    claims, settings = assertion.claims, current_settings()
    audience = claims.get("aud")
    # A single one: a server that is named beside this one could use the assertion here.
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    # Itself by either name, and the endpoint that is asked: clients differ in which they send.
    own = {settings.issuer, f"{settings.issuer}/token", f"{settings.issuer}{request.path}"}
    expires_at: Any = claims.get("exp")
    conditions = {
        "the client does not use assertions": client is not None and client.auth_method == ASSERTION,
        "client_assertion_type": body.get("client_assertion_type") == ASSERTION_TYPE,
        "client_id": client is not None and body.get("client_id") in {None, client.id},
        "iss": client is not None and claims.get("iss") == client.id,
        "aud": isinstance(audience, str) and audience in own,
        "exp": is_time(expires_at) and -LEEWAY < expires_at - time.time() <= MAXIMUM_LIFETIME + LEEWAY,
        "nbf": _is_past(claims.get("nbf", 0)),
        "iat": _is_past(claims.get("iat", 0)),
        "jti": isinstance(claims.get("jti"), str) and 0 < len(claims["jti"]) <= 1024,
        "kid": isinstance(assertion.header.get("kid", ""), str),
        "alg": assertion.header.get("alg") == ALGORITHM,
        "crit": "crit" not in assertion.header,
    }
    if failed := [name for name, holds in conditions.items() if not holds]:
        raise _Refused(failed[0])
    assert client
    if not _is_signed(client, assertion):
        raise _Refused("signature")


def _is_past(moment: Any) -> bool:
    return is_time(moment) and moment <= time.time() + LEEWAY


def _is_signed(client: Client, assertion: UnverifiedJws) -> bool:
    """Return whether the key that `kid` names, or the only key there is, has signed an assertion.

    Raises `_Refused` where there is no such key.
    """
    kid = assertion.header.get("kid")
    keys = _find_keys(client, kid)
    key = keys.get(kid) if isinstance(kid, str) else next(iter(keys.values())) if len(keys) == 1 else None
    if key is None:
        raise _Refused("kid")
    try:
        key.verify(assertion.signature, assertion.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _use_once(client: Client, claims: dict[str, Any]) -> None:
    """Record that an assertion was used, whatever comes of the request.

    Commits by itself, before the request does anything else. Raises `InvalidClient` for a second use.
    """
    delete_expired(ClientAssertion, ClientAssertion.expires_at, int(time.time()) - 2 * LEEWAY)
    jti_hash = hashlib.sha256(json.dumps([client.id, claims["jti"]]).encode()).hexdigest()
    row = {"jti_hash": jti_hash, "expires_at": int(claims["exp"])}
    try:
        db.session.execute(insert(ClientAssertion), [row])
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        audit.record("client_refused", client=client.id, reason="jti")
        raise InvalidClient from None


def _find_keys(client: Client, kid: object) -> Keys:
    if client.jwks:
        return _parse(json.dumps(client.jwks).encode())
    assert client.jwks_uri
    fetched: dict[str, _FetchedKeys] = current_app.extensions.setdefault("client_keys", {})
    return fetched.setdefault(client.jwks_uri, _FetchedKeys(client.jwks_uri)).find(kid)


def _parse(body: bytes) -> Keys:
    return {kid: published.key for kid, published in parse_key_set(body).keys.items()}


class _FetchedKeys:
    """The key set at a client's `jwks_uri`, fetched when it is needed, and again for a key that is new."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._keys: Keys = {}
        self._fetched_at = self._good_at = -float("inf")
        self._lock = threading.Lock()

    def find(self, kid: object) -> Keys:
        """Return the keys, as they were at the last fetch if no other one is due or it fails."""
        age = time.monotonic() - self._fetched_at
        is_due = age > _FRESH_FOR or (kid not in self._keys and age > _COOLDOWN)
        # One request fetches. Others go on with the keys that they know, and wait only without any.
        if is_due and self._lock.acquire(timeout=0 if self._keys else _PATIENCE):
            try:
                if time.monotonic() - self._fetched_at >= age:
                    self._fetch()
            finally:
                self._lock.release()
        return self._keys

    def _fetch(self) -> None:
        try:
            self._keys = _parse(Fetcher("application/jwk-set+json", _MAXIMUM_KEY_SET).fetch(self._uri))
            self._good_at = time.monotonic()
        except UnusableKey as error:
            self._keys = {}
            _logger.warning("the key set at %s cannot be used: %s", self._uri, error)
        except Exception as error:
            name = type(error).__name__
            _logger.warning("cannot fetch the key set at %s: %s: %a", self._uri, name, str(error))
            if time.monotonic() - self._good_at > _MAXIMUM_AGE:
                self._keys = {}
        # Not before: who comes while it is under way, and knows no keys, has to wait for them.
        self._fetched_at = time.monotonic()
