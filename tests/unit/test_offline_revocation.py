"""A service looks up revoked tokens in the issuer's status lists, or ignores them, as configured."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask_resource_server.tokens.keys import public_jwk, read_key_file
from tests.conftest import KeyPair, bearer, open_course, run_command
from tests.forger import ABSENT, ISSUER, Forger
from tests.issuers import Issuer, copy_path, serve_issuer, write_key_copy
from tests.servers import wait_for
from tests.unit.test_status_list import BAD_LISTS, pack
from tests.unit.test_status_list import sign as sign_list

pytestmark = pytest.mark.slow

LISTS = f"{ISSUER}/.well-known/status-list"
UNKNOWN = {
    "error": "temporarily_unavailable",
    "error_description": "The service cannot verify access tokens at the moment. Try again later.",
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as running:
        running.url = running.url.replace("/jwks.json", "/lists")
        yield running


def publish(issuer: Issuer, forger: Forger, *revoked: int, **changes: Any) -> None:
    """Serve one list of 64 tokens, some of them revoked."""
    bits = bytearray(8)
    for index in revoked:
        bits[index >> 3] |= 1 << (index & 7)
    claims: dict[str, Any] = {
        "sub": f"{LISTS}/1",
        "iat": time.time(),
        "status_list": {"bits": 1, "lst": pack(bytes(bits))},
    } | changes
    issuer.status = 200
    issuer.pages = {
        "/lists": json.dumps({"status_lists": [f"{LISTS}/1"]}).encode(),
        "/lists/1": sign_list(forger, **claims).encode(),
    }


@contextmanager
def open_checking(
    issuer: Issuer, key_pair: KeyPair | None, folder: Path, **settings: Any
) -> Iterator[FlaskClient]:
    """Open a course service that checks tokens against an issuer's status lists."""
    with open_course(
        f"sqlite:///{folder}/course.db",
        key_pair,
        **{
            "status_claim": "optional",
            "status_lists_url": issuer.url,
            "copies": folder,
        }
        | settings,
    ) as client:
        yield client


def token_at(forger: Forger, index: object = 5, uri: object = f"{LISTS}/1") -> str:
    return forger.sign(status={"status_list": {"idx": index, "uri": uri}})


def read(client: FlaskClient, token: str) -> int:
    return client.get("/courses", headers=bearer(token)).status_code


def test_revoked_token_is_refused_and_tokens_with_other_indexes_are_not(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5)

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert [read(course, token_at(forger, index)) for index in (4, 5, 6, 13)] == [200, 401, 200, 200]

    assert issuer.requests == ["/lists", "/lists/1"], "one fetch serves all tokens"


def test_status_lists_are_verified_without_waiting_for_a_key_fetch(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger)
    keys = {"keys": [public_jwk(key_pair.private_key.public_key())]}
    issuer.pages["/jwks.json"] = json.dumps(keys).encode()
    url = issuer.url.replace("/lists", "/jwks.json")
    write_key_copy(tmp_path, url, key_pair.private_key.public_key())

    with open_checking(issuer, None, tmp_path, jwks_url=url) as course:
        assert course.get("/readyz").json == {"status": "ok", "status_lists_age": 0}
        assert read(course, token_at(forger)) == 200


def test_cached_token_is_refused_once_it_is_revoked(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        token = token_at(forger)
        assert [read(course, token) for _ in range(3)] == [200] * 3, (
            "it is now in the cache of verified tokens"
        )

        publish(issuer, forger, 5, ttl=1)

        wait_for(lambda: read(course, token) == 401)
        assert read(course, token_at(forger, 4)) == 200


# Tokens whose status cannot be looked up, and the response for each value of STATUS_CLAIM.
STATUSES: dict[str, tuple[object, dict[str, int]]] = {
    "none": (ABSENT, {"optional": 200, "required": 401, "ignored": 200}),
    "null": (None, {"optional": 401, "required": 401, "ignored": 200}),
    "text": ("valid", {"optional": 401, "required": 401, "ignored": 200}),
    "no list": ({"other": {}}, {"optional": 401, "required": 401, "ignored": 200}),
}


@pytest.mark.parametrize("setting", ["optional", "required", "ignored"])
@pytest.mark.parametrize(("status", "expected"), STATUSES.values(), ids=STATUSES)
def test_token_without_a_status_reference_is_handled_as_configured(
    status: object,
    expected: dict[str, int],
    setting: str,
    issuer: Issuer,
    forger: Forger,
    key_pair: KeyPair,
    tmp_path: Path,
) -> None:
    publish(issuer, forger)

    with open_checking(issuer, key_pair, tmp_path, status_claim=setting) as course:
        assert read(course, forger.sign(status=status)) == expected[setting]


@pytest.mark.parametrize("index", [64, 2**31, -1, "5", 5.0, True, None])
def test_index_not_in_the_status_list_is_refused(
    index: object, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger)

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, index)) == 401


@pytest.mark.parametrize("setting", ["refuse", "accept"])
@pytest.mark.parametrize(
    "uri",
    [
        "https://example.com/.well-known/status-list/1",
        f"{LISTS}/",
        f"{LISTS}/../1",
        f"{LISTS}/1?x",
        f"{LISTS}/01",
        f"{LISTS}1",
        LISTS,
        "",
        None,
        [f"{LISTS}/1"],
    ],
    ids=str,
)
def test_list_with_an_unexpected_uri_is_refused_and_never_fetched(
    uri: object, setting: str, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger)

    with open_checking(issuer, key_pair, tmp_path, stale_status_lists=setting) as course:
        assert read(course, token_at(forger, 5, uri)) == 401

    assert set(issuer.requests) <= {"/lists", "/lists/1"}


def test_new_list_is_fetched_when_a_token_names_it(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 200
        issuer.pages["/lists"] = json.dumps({"status_lists": [f"{LISTS}/1", f"{LISTS}/2"]}).encode()
        issuer.pages["/lists/2"] = sign_list(forger, sub=f"{LISTS}/2").encode()

        wait_for(lambda: read(course, token_at(forger, 1, f"{LISTS}/2")) == 200)


@pytest.mark.parametrize(("setting", "expected"), [("refuse", 503), ("accept", 200)])
def test_service_that_never_fetched_a_list_follows_the_stale_lists_setting(
    setting: str, expected: int, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.status = 500

    with open_checking(issuer, key_pair, tmp_path, stale_status_lists=setting) as course:
        response = course.get("/courses", headers=bearer(token_at(forger)))
        assert response.status_code == expected
        ready = course.get("/readyz")
        assert ready.status_code == expected
        if expected == 503:
            assert response.get_json() == UNKNOWN
            assert response.headers["Retry-After"] == ready.headers["Retry-After"] == "1"
            assert "WWW-Authenticate" not in response.headers, (
                "the token may be valid, so the client should keep it"
            )
        else:
            assert ready.json == {"status": "degraded", "degraded": ["status_lists"]}
        assert read(course, forger.sign()) == 200, "a token without a status needs no list"


@pytest.mark.parametrize(("setting", "good"), [("refuse", 503), ("accept", 200)])
def test_expired_list_with_the_issuer_down_follows_the_stale_lists_setting(
    setting: str, good: int, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5, exp=int(time.time()) + 3, ttl=1)
    with open_checking(issuer, key_pair, tmp_path, stale_status_lists=setting) as course:
        assert read(course, token_at(forger, 4)) == 200
        issuer.status, issuer.pages = 500, {}
        wait_for(lambda: course.get("/readyz").get_json().get("status") != "ok")

        wait_for(lambda: read(course, token_at(forger, 4)) == good)

        assert course.get("/readyz").status_code == good
        assert read(course, token_at(forger, 5)) == 401, "known revocations stay in force"
        publish(issuer, forger, 5)
        wait_for(lambda: read(course, token_at(forger, 4)) == 200)
        wait_for(lambda: course.get("/readyz").get_json().get("status") == "ok")


def test_restarted_service_uses_its_copy_while_the_issuer_is_down(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, 4)) == 200
    issuer.status, issuer.pages = 500, {}
    copy_path(tmp_path, "status-lists", setting=issuer.url).with_suffix(".json.attempt").unlink()

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b'{"a": 1}', b'{"a": null}', b"\xff"])
def test_damaged_copy_is_fetched_again(
    content: bytes, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    copy = copy_path(tmp_path, "status-lists", setting=issuer.url)
    copy.write_bytes(content)
    publish(issuer, forger, 5)

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]
        wait_for(lambda: issuer.pages["/lists/1"] in copy.read_bytes())


def test_copy_signed_by_an_unknown_key_is_not_used(
    issuer: Issuer, forger: Forger, attacker: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    empty = sign_list(attacker, sub=f"{LISTS}/1", status_list={"bits": 1, "lst": pack(bytes(8))})
    copy_path(tmp_path, "status-lists", setting=issuer.url).write_text(json.dumps({f"{LISTS}/1": empty}))
    issuer.status = 500

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 503


def test_copy_is_used_once_its_key_is_known(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, 4)) == 200
    keys = tmp_path / "keys.pem"
    keys.write_bytes(other_key_pair.public_file.read_bytes())
    issuer.status = 500

    with open_checking(issuer, None, tmp_path, jwt_public_key_file=keys) as course:
        assert read(course, token_at(forger, 4)) == 401
        assert course.get("/readyz").status_code == 503
        keys.write_bytes(key_pair.public_file.read_bytes())

        wait_for(lambda: read(course, token_at(forger, 4)) == 200)
        assert read(course, token_at(forger, 5)) == 401


BAD_INDEXES = {
    "empty": b"",
    "HTML": b"<!doctype html>",
    "list": b"[]",
    "no lists": b"{}",
    "other issuer": json.dumps({"status_lists": ["https://example.com/.well-known/status-list/1"]}).encode(),
    "number": json.dumps({"status_lists": [1]}).encode(),
    "too many": json.dumps({"status_lists": [f"{LISTS}/{n}" for n in range(1, 102)]}).encode(),
    "unknown list": json.dumps({"status_lists": [f"{LISTS}/7"]}).encode(),
}


@pytest.mark.parametrize("body", BAD_INDEXES.values(), ids=BAD_INDEXES)
def test_bad_index_leaves_the_last_good_lists_in_force(
    body: bytes, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, 4)) == 200

        issuer.pages["/lists"] = body

        wait_for(lambda: course.get("/readyz").get_json()["status"] == "degraded")
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]
    asked = {path for path in issuer.requests if path.startswith("/lists")}
    assert asked <= {"/lists", "/lists/1", "/lists/7"}


@pytest.mark.parametrize("kind", ["access token", "other key", "other list", "bomb", "no exp", "expired"])
def test_bad_list_leaves_the_last_good_one_in_force(
    kind: str, issuer: Issuer, forger: Forger, attacker: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    """Only the kinds in test_status_list.py that take different paths through fetching and parsing."""
    publish(issuer, forger, 5, ttl=1)
    changes = dict(BAD_LISTS.get(kind, {"exp": int(time.time()) - 1}))
    signer = attacker if changes.pop("signer", None) else forger
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, 4)) == 200

        claims = {"sub": f"{LISTS}/1"} | changes
        issuer.pages["/lists/1"] = sign_list(signer, claims.pop("header", None), **claims).encode()

        wait_for(lambda: course.get("/readyz").get_json()["status"] == "degraded")
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]


def test_list_signed_by_a_removed_key_is_not_used(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    other = Forger(other_key_pair.private_key, other_key_pair.kid)
    keys = tmp_path / "keys.pem"
    keys.write_bytes(key_pair.public_file.read_bytes() + other_key_pair.public_file.read_bytes())
    publish(issuer, other)
    with open_checking(issuer, None, tmp_path, jwt_public_key_file=keys) as course:
        assert read(course, token_at(forger)) == 200

        keys.write_bytes(key_pair.public_file.read_bytes())
        assert other.kid not in read_key_file(keys)

        wait_for(lambda: read(course, token_at(forger)) == 503)
        publish(issuer, forger)
        wait_for(lambda: read(course, token_at(forger)) == 200)


def test_unchanged_lists_are_not_downloaded_again(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, ttl=1)
    issuer.headers["ETag"] = '"first"'
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 200
        issuer.status, issuer.pages = 304, {}
        polls = len(issuer.requests)

        wait_for(lambda: len(issuer.requests) >= polls + 4)

        assert set(issuer.conditions[polls:]) == {'"first"'}
        assert course.get("/readyz").get_json()["status"] == "ok"
        assert read(course, token_at(forger)) == 200


def test_explain_token_says_that_the_token_was_revoked(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5)
    with open_checking(issuer, key_pair, tmp_path) as course:
        revoked = run_command(course, "explain-token", stdin=token_at(forger, 5))
        good = run_command(course, "explain-token", stdin=token_at(forger, 4))

    assert (revoked.exit_code, good.exit_code) == (1, 0)
    assert "FAIL  it was not revoked" in revoked.output
    assert "pass  it was not revoked" in good.output


def test_explain_token_says_when_the_status_is_unknown(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.status = 500
    with open_checking(issuer, key_pair, tmp_path) as course:
        unknown = run_command(course, "explain-token", stdin=token_at(forger))

    assert unknown.exit_code == 1
    assert "STALE_STATUS_LISTS" in unknown.output


OLDER: dict[str, dict[str, Any]] = {
    "a second older": {"iat": -1},
    "a millisecond older": {"iat": -0.001},
    "same age, different content": {"iat": 0},
}


@pytest.mark.parametrize("changes", OLDER.values(), ids=OLDER)
@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
def test_older_list_does_not_undo_a_revocation(
    is_restarted: bool,
    changes: dict[str, float],
    issuer: Issuer,
    forger: Forger,
    key_pair: KeyPair,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = round(time.time(), 3)
    publish(issuer, forger, 5, iat=now, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]
    with open_checking(issuer, key_pair, tmp_path) as restarted:
        course = restarted if is_restarted else course
        publish(issuer, forger, iat=now + changes["iat"], ttl=1)

        polls = len(issuer.requests)
        wait_for(lambda: len(issuer.requests) >= polls + 6)

        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]
        assert course.get("/readyz").get_json()["status"] == "ok", "a cache may serve an older list"
        publish(issuer, forger, 6, iat=now + 0.001, ttl=1)
        wait_for(lambda: read(course, token_at(forger, 6)) == 401)
        assert read(course, token_at(forger, 5)) == 200, "the newer list no longer revokes it"
    assert 1 <= caplog.text.count("not newer than the known one") <= 2, "logged once per application"


def test_list_that_returns_to_the_index_is_not_replaced_by_an_older_one(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, 5, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger, 5)) == 401
        issuer.pages["/lists"] = json.dumps({"status_lists": []}).encode()
        polls = len(issuer.requests)
        wait_for(lambda: len(issuer.requests) >= polls + 2)

        publish(issuer, forger, iat=time.time() - 60, ttl=1)
        wait_for(lambda: issuer.requests[-1] == "/lists/1")

        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401]


def test_future_dated_list_of_a_removed_key_does_not_block_valid_lists(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    """An attacker who stole the key may have dated the list in the future."""
    keys = tmp_path / "keys.pem"
    keys.write_bytes(key_pair.public_file.read_bytes() + other_key_pair.public_file.read_bytes())
    publish(issuer, Forger(other_key_pair.private_key, other_key_pair.kid), 4, iat=time.time() + 5, ttl=1)
    with open_checking(issuer, None, tmp_path, jwt_public_key_file=keys) as course:
        assert [read(course, token_at(forger, index)) for index in (4, 5)] == [401, 200]
        keys.write_bytes(key_pair.public_file.read_bytes())

        publish(issuer, forger, 5, ttl=1)

        wait_for(lambda: [read(course, token_at(forger, index)) for index in (4, 5)] == [200, 401])


@pytest.mark.parametrize("copy", ["missing/copies", "file"])
def test_revocations_are_honoured_without_a_writable_folder_for_copies(
    copy: str,
    issuer: Issuer,
    forger: Forger,
    key_pair: KeyPair,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("no folder")
    publish(issuer, forger, ttl=1)
    with open_checking(issuer, key_pair, tmp_path, copies=tmp_path / copy) as course:
        token = token_at(forger)
        assert read(course, token) == 200
        publish(issuer, forger, 5, ttl=1)

        wait_for(lambda: read(course, token) == 401)

        assert read(course, token_at(forger, 4)) == 200
        assert course.get("/readyz").get_json()["status"] == "ok"
    # Other lines come from threads that earlier tests left behind.
    lines = [line for _, _, line in caplog.record_tuples if str(tmp_path) in line]
    assert sum("make the folder in COPIES writable" in line for line in lines) == 1
