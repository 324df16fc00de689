"""The cache of verified tokens is as strict as verification without it."""

import json
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from flask_jwt_extended import decode_token, get_jwt, jwt_required

from flask_resource_server import ResourceServer
from flask_resource_server.tokens import TrustedIssuer
from flask_resource_server.tokens.cache import MAXIMUM_CHARACTERS, MAXIMUM_TOKENS, TokenCache
from flask_resource_server.tokens.checks import LEEWAY
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.keys import read_key_file
from flask_resource_server.tokens.profiles import RFC9068
from tests.conftest import KeyPair, bearer, get_token, log_in, open_auth
from tests.forger import COURSES, ISSUER, Forger
from tests.servers import wait_for
from tests.token_rows import REFUSED, now
from tests.unit.test_fetched_copy import forked


@pytest.fixture
def public_file(key_pair: KeyPair, tmp_path: Path) -> Path:
    path = tmp_path / "public_key.pem"
    path.write_bytes(key_pair.public_file.read_bytes())
    return path


def protect(app: Flask, public_file: Path, **settings: Any) -> None:
    ResourceServer(app, issuer=ISSUER, resource=COURSES, public_key_file=public_file, **settings)


@pytest.fixture
def client(public_file: Path) -> FlaskClient:
    """A service whose view modifies the claims that it is given."""
    app = Flask("service")
    protect(app, public_file)

    @app.get("/")
    @jwt_required()
    def show_claims() -> dict[str, Any]:
        claims = dict(get_jwt())
        get_jwt().clear()
        return claims

    return app.test_client()


NO_CLAIMS = VerifiedClaims({}, RFC9068)


def cache_of(client: FlaskClient) -> TokenCache:
    cache: TokenCache = client.application.extensions["flask_resource_server"].verifier._cache
    return cache


def tokens(client: FlaskClient) -> dict[str, object]:
    return dict(cache_of(client)._tokens)


def get(client: FlaskClient, token: str) -> int:
    return client.get("/", headers=bearer(token)).status_code


def test_token_is_verified_once_and_cached(client: FlaskClient, forger: Forger) -> None:
    token = forger.sign()
    answers = [client.get("/", headers=bearer(token)).json for _ in range(2)]
    cached = tokens(client)

    assert get(client, token) == 200
    assert list(cached) == [token]
    assert tokens(client)[token] is cached[token]
    assert answers[0] == answers[1], "a view modifies the claims of its own request only"
    assert answers[0]
    assert answers[0]["sub"] == forger.subject


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refused_token_is_not_cached(
    make: Callable[[Forger, Forger], str], client: FlaskClient, forger: Forger, attacker: Forger
) -> None:
    assert get(client, forger.sign()) == 200
    assert get(client, make(forger, attacker)) == 401
    assert len(tokens(client)) == 1


@pytest.fixture
def full(client: FlaskClient, forger: Forger) -> list[str]:
    """As many good tokens as the cache holds."""
    good = [forger.sign() for _ in range(MAXIMUM_TOKENS)]
    assert {get(client, token) for token in good} == {200}
    assert list(tokens(client)) == good
    return good


def test_forged_tokens_do_not_evict_good_ones(full: list[str], client: FlaskClient, attacker: Forger) -> None:
    head, payload, signature = full[0].split(".")
    forged = [attacker.sign() for _ in range(5)]
    forged += [f"{head}.{payload}.{'A' * n}{signature[n:]}" for n in (4, 8)]

    assert {get(client, token) for token in forged} == {401}
    assert list(tokens(client)) == full


def test_view_that_modifies_its_claims_does_not_affect_other_requests(
    public_file: Path, forger: Forger
) -> None:
    app = Flask("service")
    protect(app, public_file, status_claim="ignored")
    seen = []

    @app.get("/")
    @jwt_required()
    def spoil_claims() -> str:
        seen.append(json.dumps(get_jwt()))
        get_jwt()["status"]["status_list"]["idx"] = 0
        get_jwt()["aud"].append("http://127.0.0.1:9999")
        return ""

    token = forger.sign(status={"status_list": {"idx": 5, "uri": "http://127.0.0.1:8081/x"}})
    assert [app.test_client().get("/", headers=bearer(token)).status_code for _ in range(3)] == [200] * 3

    assert len(set(seen)) == 1


def test_total_length_of_cached_tokens_is_limited(public_file: Path, forger: Forger) -> None:
    keys = {kid: published.key for kid, published in read_key_file(public_file).items()}
    issuer = TrustedIssuer(ISSUER, frozenset([COURSES]), keys, lambda _: False)
    cache, length = TokenCache(), MAXIMUM_CHARACTERS // 4
    names = [str(number) * length for number in range(6)]
    for name in (*names, names[-1]):
        cache.add(name, NO_CLAIMS, issuer, forger.kid, 0, time.time() + 60)

    assert list(cache._tokens) == names[-4:]


def test_cache_is_thread_safe(public_file: Path, forger: Forger) -> None:
    """Expired tokens are dropped while others are added to a full cache."""
    keys = {kid: published.key for kid, published in read_key_file(public_file).items()}
    issuer = TrustedIssuer(ISSUER, frozenset([COURSES]), keys, lambda _: False)
    cache, end = TokenCache(), time.monotonic() + 2
    interval = sys.getswitchinterval()

    def add(number: int) -> int:
        added = 0
        while time.monotonic() < end:
            name = f"{number} {added}"
            cache.add(name, NO_CLAIMS, issuer, forger.kid, 0, time.time() + (1e-5 if added % 2 else 60))
            cache.get(name)
            added += 1
        return added

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            added = list(pool.map(add, range(8)))
    finally:
        sys.setswitchinterval(interval)

    assert sum(added) > MAXIMUM_TOKENS, "the cache was full"
    assert len(cache._tokens) <= MAXIMUM_TOKENS


def test_cache_is_fork_safe(public_file: Path, forger: Forger) -> None:
    """A thread of the parent may hold the lock at the fork, and no thread of the child ever releases it."""
    keys = {kid: published.key for kid, published in read_key_file(public_file).items()}
    issuer = TrustedIssuer(ISSUER, frozenset([COURSES]), keys, lambda _: False)
    cache = TokenCache()
    stopping = threading.Event()

    def add() -> None:
        while not stopping.is_set():
            cache.add("a", NO_CLAIMS, issuer, forger.kid, 0, time.time() + 60)

    def work() -> bytes:
        cache.add("b", NO_CLAIMS, issuer, forger.kid, 0, time.time() + 60)
        return b"added"

    interval = sys.getswitchinterval()
    threads = [threading.Thread(target=add) for _ in range(2)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(50):
            with forked(work) as reading:
                assert select.select([reading], [], [], 20)[0], "the child is deadlocked"
    finally:
        stopping.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def test_oldest_token_is_evicted_when_the_cache_is_full(
    full: list[str], client: FlaskClient, forger: Forger
) -> None:
    another = forger.sign()

    assert get(client, another) == 200
    assert list(tokens(client)) == [*full[1:], another]
    assert get(client, full[0]) == 200, "it is verified again"


def test_cached_token_expires(client: FlaskClient, forger: Forger) -> None:
    token = forger.sign(iat=now(-60), exp=now(2 - LEEWAY))
    assert get(client, token) == 200
    assert token in tokens(client)

    wait_for(lambda: get(client, token) == 401, seconds=5)

    assert tokens(client) == {}


@pytest.mark.parametrize("change", ["replaced", "retired"])
def test_cached_token_is_refused_once_its_key_is_replaced_or_retired(
    change: str, client: FlaskClient, forger: Forger, public_file: Path, other_key_pair: KeyPair
) -> None:
    token = forger.sign()
    assert get(client, token) == 200

    pem, other = public_file.read_text(), other_key_pair.public_file.read_text()
    if change == "retired":
        public_file.write_text(f"# retiring until 2026-01-01T00:00:00Z\n{pem}\n{other}")
    else:
        public_file.write_text(other)

    wait_for(lambda: get(client, token) == 401)  # the file is checked again after POLL_INTERVAL
    public_file.write_text(pem)
    wait_for(lambda: get(client, token) == 200)  # and is accepted again with its key


def test_added_key_is_used_at_once(
    client: FlaskClient, forger: Forger, public_file: Path, other_key_pair: KeyPair
) -> None:
    assert get(client, forger.sign()) == 200
    with public_file.open("a") as file:
        file.write(other_key_pair.public_file.read_text())

    other = Forger(other_key_pair.private_key, other_key_pair.kid)
    assert get(client, other.sign()) == 200


def test_view_may_decode_a_token_other_than_the_one_in_its_request(
    client: FlaskClient, forger: Forger, attacker: Forger
) -> None:
    other = forger.sign(sub="other")

    @client.application.post("/decode")
    @jwt_required()
    def decode() -> dict[str, Any]:
        return decode_token(request.form["token"])

    headers = bearer(forger.sign())
    decoded = client.post("/decode", headers=headers, data={"token": other}).json
    assert decoded
    assert decoded["sub"] == "other"
    assert client.post("/decode", headers=headers, data={"token": attacker.sign()}).status_code == 401
    with client.application.app_context():
        assert decode_token(other)["sub"] == "other"


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair) as client:
        yield client


def test_cached_token_is_refused_once_its_session_ends(auth: FlaskClient) -> None:
    token, other = log_in(auth), get_token(auth)
    headers = bearer(token["access_token"])
    assert [auth.get("/users/me", headers=headers).status_code for _ in range(2)] == [200, 200]

    auth.post("/revoke", data={"token": token["refresh_token"]})

    assert auth.get("/users/me", headers=headers).status_code == 401
    assert auth.get("/users/me", headers=bearer(other)).status_code == 200
