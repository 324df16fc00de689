"""Authenticate clients by signed JWT assertions: `private_key_jwt` (RFC 7523, OpenID Connect Core 9)."""

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
MAXIMUM_LIFETIME = 3600  # seconds until `exp`, for which the `jti` must be remembered

_MAXIMUM_KEY_SET = 64 * 1024  # bytes
_FRESH_FOR = 300  # seconds after which a key set is fetched again
_MAXIMUM_AGE = 86400  # seconds for which the last good key set is used while fetching fails
_MAXIMUM_WAIT = 4  # seconds to wait for a fetch that another request has started
_COOLDOWN = 10  # the least seconds between two fetches, even if assertions name unknown keys

Keys = Mapping[str, RSAPublicKey]

_logger = logging.getLogger(__name__)


def find_client_of_assertion(body: dict[str, Any]) -> Client:
    """Return the client that signed the `client_assertion` in a request body.

    Commits the use of the assertion. Raises `InvalidClient`.
    """
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
    """An assertion is refused. The message is the reason, for the audit log."""


def _check(client: Client | None, assertion: UnverifiedJws, body: dict[str, Any]) -> None:
    """Check an assertion as RFC 7523 section 3 requires. Raises `_Refused`."""
    claims, settings = assertion.claims, current_settings()
    audience = claims.get("aud")
    # Accept a single audience only: another server that is named too could use the assertion here.
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    # Clients send different audiences: the issuer, the token endpoint, or the endpoint that they call.
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
    """Return whether an assertion is signed by the client's key with its `kid`, or by the client's only key.

    Raises `_Refused` if there is no such key.
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
    """Record the use of an assertion, and commit, whether or not the request succeeds.

    Raises `InvalidClient` for a second use.
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
    """The key set at a client's `jwks_uri`, fetched when needed and for an unknown `kid`. Thread-safe."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._keys: Keys = {}
        self._fetched_at = self._good_at = -float("inf")
        self._lock = threading.Lock()

    def find(self, kid: object) -> Keys:
        """Return the keys, after a fetch if one is due. If that fails, return the last good ones."""
        age = time.monotonic() - self._fetched_at
        is_due = age > _FRESH_FOR or (kid not in self._keys and age > _COOLDOWN)
        # One request fetches. The others continue with the known keys, and wait only if there are none.
        if is_due and self._lock.acquire(timeout=0 if self._keys else _MAXIMUM_WAIT):
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
            _logger.warning("the key set at %s is unusable: %s; refusing its client", self._uri, error)
        except Exception as error:
            if time.monotonic() - self._good_at > _MAXIMUM_AGE:
                self._keys = {}
            failure = f"{type(error).__name__}: {str(error)!a}"
            use = "continuing with the last good one" if self._keys else "refusing its client"
            _logger.warning("cannot fetch the key set at %s: %s; %s", self._uri, failure, use)
        # Set this after the fetch, so that concurrent requests without keys wait for it.
        self._fetched_at = time.monotonic()
