"""Refresh tokens: rotation, retries within the grace period, reuse, and malformed tokens."""

import hmac
import secrets
import string
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.sessions import hash_secret
from auth_app.models import Session, User
from tests.conftest import (
    KeyPair,
    add_client,
    both_databases,
    change_row,
    log_in,
    open_auth,
    read_claims,
)
from tests.forger import COURSES
from tests.refresh_tokens import (
    is_refused,
    let_grace_pass,
    let_pass,
    refresh,
    refreshed,
    sees_itself,
    sessions,
)

pytestmark = both_databases


@pytest.fixture
def strict_auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, refresh_token_grace=0) as client:
        yield client


def is_live(client: FlaskClient) -> bool:
    (session,) = sessions(client)
    return session.revoked_at is None


# A client that did not receive the response retries.


def test_retry_returns_the_same_successor(auth: FlaskClient) -> None:
    first = log_in(auth)
    lost = refreshed(auth, first["refresh_token"])

    again = refreshed(auth, first["refresh_token"])

    assert list(again) == list(lost)
    assert again["refresh_token"] == lost["refresh_token"]
    old, new = (read_claims(answer["access_token"]) for answer in (lost, again))
    assert old.pop("jti") != new.pop("jti")
    for name in ("sub", "sid", "aud", "client_id", "scope", "username"):
        assert old[name] == new[name]
    assert refreshed(auth, again["refresh_token"])


def test_every_rotation_may_be_retried(auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]

    for _ in range(3):
        answers = [refreshed(auth, token)["refresh_token"] for _ in range(4)]
        assert len({token, *answers}) == 2
        token = answers[0]


def test_two_tabs_get_the_same_refresh_token(auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]

    for _ in range(3):
        one, other = refreshed(auth, token), refreshed(auth, token)
        assert one["refresh_token"] == other["refresh_token"]
        assert sees_itself(auth, one["access_token"])
        assert sees_itself(auth, other["access_token"])
        let_grace_pass(auth)
        token = one["refresh_token"]


def test_retry_leaves_one_live_refresh_token(auth: FlaskClient) -> None:
    first = log_in(auth)["refresh_token"]
    successor = refreshed(auth, first)["refresh_token"]
    refreshed(auth, first)

    (session,) = sessions(auth)

    assert session.refresh_token_hash == hash_secret(successor)
    inspector = add_client(auth, "inspector", "--resource", COURSES)
    assert auth.post("/introspect", data={"token": first}, auth=inspector).json == {"active": False}


def test_retry_may_narrow_the_scope_and_the_audience(auth: FlaskClient) -> None:
    first = log_in(auth, "teacher1", scope="courses:read courses:write")
    narrow = {"scope": "courses:read", "resource": COURSES}
    wide = refreshed(auth, first["refresh_token"])

    again = refreshed(auth, first["refresh_token"], **narrow)

    assert wide["scope"] == "courses:read courses:write"
    assert again["scope"] == read_claims(again["access_token"])["scope"] == "courses:read"
    assert read_claims(again["access_token"])["aud"] == [COURSES]
    assert refreshed(auth, again["refresh_token"])["scope"] == "courses:read courses:write"


REFUSED_REQUESTS = {
    "scope beyond the grant": ({"scope": "users:manage"}, "invalid_scope"),
    "unknown resource": ({"resource": "https://other.example.com"}, "invalid_target"),
}


@pytest.mark.parametrize(("changes", "error"), REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS)
def test_refused_request_does_not_spend_the_refresh_token(
    changes: dict[str, str], error: str, auth: FlaskClient
) -> None:
    token = log_in(auth)["refresh_token"]

    assert is_refused(refresh(auth, token, **changes), error)
    lost = refreshed(auth, token)
    assert is_refused(refresh(auth, token, **changes), error)

    again = refreshed(auth, token)
    assert again["refresh_token"] == lost["refresh_token"]
    assert refreshed(auth, again["refresh_token"])


ENDED_SESSIONS = {
    "revoked": sa.update(Session).values(revoked_at=1),
    "expired": sa.update(Session).values(expires_at=Session.created_at - 60),
    "user disabled": sa.update(User).values(is_disabled=True),
    "older generation": sa.update(User).values(session_generation=1),
}


@pytest.mark.parametrize("end", ENDED_SESSIONS.values(), ids=ENDED_SESSIONS)
def test_retry_in_an_ended_session_is_refused(end: sa.Update, auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]
    refreshed(auth, token)
    change_row(auth, end)

    assert is_refused(refresh(auth, token))


def test_retry_by_another_client_is_refused_and_revokes_nothing(auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]
    successor = refreshed(auth, token)["refresh_token"]

    assert is_refused(refresh(auth, token, auth=add_client(auth)))

    assert refreshed(auth, token)["refresh_token"] == successor


# Seconds since the rotation, by the clock of the host that handles the retry; it may be ten seconds behind.
MOMENTS = {
    "at once": (0, True),
    "soon": (5, True),
    "after the grace period": (11, False),
    "much later": (86400, False),
    "clock a little behind": (-5, True),
    "clock an hour ahead at the rotation": (-3600, False),
}


@pytest.mark.parametrize(("seconds", "is_accepted"), MOMENTS.values(), ids=MOMENTS)
def test_retry_is_accepted_only_within_the_grace_period(
    seconds: int, is_accepted: bool, auth: FlaskClient
) -> None:
    token = log_in(auth)["refresh_token"]
    refreshed(auth, token)
    let_pass(auth, seconds)

    assert (refresh(auth, token).status_code == 200) == is_accepted

    assert is_live(auth) == is_accepted


# Any other token that names the session counts as reuse.


@pytest.mark.parametrize("age", [0, 1, 2])
def test_reused_refresh_token_revokes_its_session(age: int, auth: FlaskClient) -> None:
    answers = [log_in(auth)]
    for _ in range(3):
        answers.append(refreshed(auth, answers[-1]["refresh_token"]))
    let_grace_pass(auth)

    assert is_refused(refresh(auth, answers[age]["refresh_token"]))

    assert is_refused(refresh(auth, answers[-1]["refresh_token"])), "the newest no longer works either"
    assert not any(sees_itself(auth, answer["access_token"]) for answer in answers)


@pytest.mark.parametrize("age", [0, 1])
def test_retry_counts_as_reuse_once_the_successor_was_used(age: int, auth: FlaskClient) -> None:
    answers = [log_in(auth)]
    for _ in range(3):
        answers.append(refreshed(auth, answers[-1]["refresh_token"]))

    assert is_refused(refresh(auth, answers[age]["refresh_token"]))

    assert is_refused(refresh(auth, answers[-1]["refresh_token"])), "the newest no longer works either"
    assert not any(sees_itself(auth, answer["access_token"]) for answer in answers)


@pytest.mark.parametrize("age", [0, 1, 2])
@pytest.mark.parametrize("seconds", [0, -5], ids=["clocks agree", "clock behind"])
def test_any_second_use_is_reuse_without_a_grace_period(
    age: int, seconds: int, strict_auth: FlaskClient
) -> None:
    answers = [log_in(strict_auth)]
    for _ in range(3):
        answers.append(refreshed(strict_auth, answers[-1]["refresh_token"]))
    let_pass(strict_auth, seconds)

    assert is_refused(refresh(strict_auth, answers[age]["refresh_token"]))

    assert is_refused(refresh(strict_auth, answers[-1]["refresh_token"]))
    assert not any(sees_itself(strict_auth, answer["access_token"]) for answer in answers)


def test_second_holder_of_a_token_ends_the_session_after_the_grace_period(auth: FlaskClient) -> None:
    stolen = log_in(auth)["refresh_token"]
    owner, thief = refreshed(auth, stolen), refreshed(auth, stolen)
    let_grace_pass(auth)
    owner = refreshed(auth, owner["refresh_token"])
    let_grace_pass(auth)

    assert is_refused(refresh(auth, thief["refresh_token"]))

    assert is_refused(refresh(auth, owner["refresh_token"]))
    assert not any(sees_itself(auth, answer["access_token"]) for answer in (owner, thief))


def test_reuse_does_not_end_other_sessions(auth: FlaskClient) -> None:
    first, other = log_in(auth), log_in(auth)
    refreshed(auth, first["refresh_token"])
    let_grace_pass(auth)

    assert is_refused(refresh(auth, first["refresh_token"]))

    assert sees_itself(auth, other["access_token"])
    assert refreshed(auth, other["refresh_token"])


def test_guess_of_the_second_half_counts_as_reuse(auth: FlaskClient) -> None:
    """Only someone who has seen one of the session's tokens knows the first half."""
    token = log_in(auth)["refresh_token"]

    assert is_refused(refresh(auth, token[:43] + secrets.token_urlsafe(32)))

    assert is_refused(refresh(auth, token))


# Malformed refresh tokens.

_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def respell(character: str) -> str:
    """Return another last character that decodes to the same bytes: two of its six bits are unused."""
    return _ALPHABET[_ALPHABET.index(character) ^ 1]


MALFORMED: dict[str, Callable[[str], str]] = {
    "first half only": lambda token: token[:43],
    "one character shorter": lambda token: token[:-1],
    "two characters shorter": lambda token: token[:-2],
    "one character longer": lambda token: token + "A",
    "twice": lambda token: token + token,
    "padded": lambda token: token + "=",
    "space at the end": lambda token: token + " ",
    "space instead of the last character": lambda token: token[:-1] + " ",
    "space in front": lambda token: " " + token,
    "line break at the end": lambda token: token + "\n",
    "line break instead of the last character": lambda token: token[:-1] + "\n",
    "space inside": lambda token: token[:50] + " " + token[50:],
    "padding inside": lambda token: token[:85] + "=",
    "dot inside": lambda token: token[:50] + "." + token[51:],
    "other alphabet": lambda token: token[:50] + "+" + token[51:],
    "non-ASCII character": lambda token: token[:50] + "é" + token[51:],
    "quoted": lambda token: f'"{token}"',
    "non-canonical base64": lambda token: token[:-1] + respell(token[-1]),
}


@pytest.mark.parametrize("mangle", MALFORMED.values(), ids=MALFORMED)
def test_malformed_refresh_token_is_refused_and_revokes_nothing(
    mangle: Callable[[str], str], auth: FlaskClient
) -> None:
    answer = log_in(auth)
    token = mangle(answer["refresh_token"])

    response = refresh(auth, token)
    auth.post("/revoke", data={"token": token})

    assert is_refused(response) or is_refused(response, "invalid_request")
    assert sees_itself(auth, answer["access_token"])
    assert refreshed(auth, answer["refresh_token"])


@pytest.mark.parametrize(
    "token",
    ["x", "x" * 43, "x" * 86, "x" * 4096, "eyJ.eyJ.x", "%", "é", " ", "a b", "\x00", "x" * 4097],
)
def test_made_up_refresh_token_is_refused(token: str, auth: FlaskClient) -> None:
    response = refresh(auth, token)

    assert response.status_code == 400
    assert response.json
    assert response.json["error"] in {"invalid_grant", "invalid_request"}


def test_every_refresh_token_is_two_halves_of_256_bits(auth: FlaskClient) -> None:
    tokens = [log_in(auth)["refresh_token"]]
    for _ in range(20):
        tokens.append(refreshed(auth, tokens[-1])["refresh_token"])

    assert {len(token) for token in tokens} == {86}
    assert len({token[:43] for token in tokens}) == 1
    assert len({token[43:] for token in tokens}) == len(tokens)


# What is stored.


def test_neither_half_of_a_refresh_token_is_stored(auth: FlaskClient) -> None:
    first = log_in(auth)["refresh_token"]
    second = refreshed(auth, first)["refresh_token"]
    (session,) = sessions(auth)

    stored = " ".join(str(getattr(session, column.name)) for column in Session.__table__.columns)

    assert session.refresh_token_hash in stored
    for token in (first, second):
        assert token[:43] not in stored
        assert token[43:] not in stored


def test_successor_cannot_be_computed_from_what_is_stored(auth: FlaskClient) -> None:
    """HMAC hashes a key of more than 64 bytes, and the hash of a token is stored until it is spent."""
    first = log_in(auth)["refresh_token"]
    (before,) = sessions(auth)
    successor = refreshed(auth, first)["refresh_token"]
    (session,) = sessions(auth)
    assert session.rotation_nonce
    stored = [session.family_hash, before.refresh_token_hash, session.refresh_token_hash]
    keys = [key for text in stored for key in (bytes.fromhex(text), text.encode())]

    guesses = [hmac.digest(key, session.rotation_nonce.encode(), "sha256") for key in keys]

    assert successor[43:] not in [urlsafe_b64encode(guess).decode().rstrip("=") for guess in guesses]


def rotate_like_first_edition(auth: FlaskClient, token: str) -> str:
    """Rotate like a server of the first edition, which stored only the hash of a random successor."""
    successor = token[:43] + secrets.token_urlsafe(32)
    change_row(auth, sa.update(Session).values(refresh_token_hash=hash_secret(successor)))
    return successor


def test_refresh_token_from_the_first_edition_still_works(auth: FlaskClient) -> None:
    token = rotate_like_first_edition(auth, log_in(auth)["refresh_token"])

    successor = refreshed(auth, token)["refresh_token"]

    assert refreshed(auth, token)["refresh_token"] == successor, "it may be retried"
    assert refreshed(auth, successor)


def test_spent_refresh_token_from_the_first_edition_counts_as_reuse(auth: FlaskClient) -> None:
    first = log_in(auth)["refresh_token"]
    newest = rotate_like_first_edition(auth, first)

    assert is_refused(refresh(auth, first))

    assert is_refused(refresh(auth, newest))
