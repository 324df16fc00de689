"""Simultaneous requests to several processes with one database have one consistent outcome."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.databases import create_database, make_databases
from tests.servers import Server, call, serve_replicas

STUDENT = {"username": "student1", "password": "password123"}
TOGETHER = 20

Request = Callable[[], tuple[int, dict[str, Any]]]


@contextmanager
def serve_over(
    request: pytest.FixtureRequest, folder: Path, settings: dict[str, str]
) -> Iterator[list[Server]]:
    with (
        make_databases(request.param, request, folder) as make,
        serve_replicas(folder / "served", create_database(make()), settings=settings) as servers,
    ):
        yield servers


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def replicas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    with serve_over(request, tmp_path_factory.mktemp("replicas"), {}) as servers:
        yield servers


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def strict_replicas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    with serve_over(request, tmp_path_factory.mktemp("strict"), {"REFRESH_TOKEN_GRACE": "0"}) as servers:
        yield servers


def send_together(requests: list[Request]) -> list[tuple[int, dict[str, Any]]]:
    barrier = Barrier(len(requests))

    def send(request: Request) -> tuple[int, dict[str, Any]]:
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def post(replicas: list[Server], number: int, form: dict[str, str], path: str = "/token") -> Request:
    return lambda: call(replicas[number % len(replicas)].url + path, form=form)


def refresh_form(answer: dict[str, Any]) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}


def test_twenty_simultaneous_refreshes_return_one_successor(replicas: list[Server]) -> None:
    for _ in range(3):
        _, login = call(replicas[0].url + "/token", form=STUDENT)
        newest = login

        for _ in range(3):
            answers = send_together([post(replicas, n, refresh_form(newest)) for n in range(TOGETHER)])

            assert Counter(status for status, _ in answers) == {200: TOGETHER}
            assert len({answer["access_token"] for _, answer in answers}) == TOGETHER
            (successor,) = {answer["refresh_token"] for _, answer in answers}
            assert successor != newest["refresh_token"]
            newest = answers[0][1]

        status, last = call(replicas[1].url + "/token", form=refresh_form(newest))
        assert status == 200, "the only successor works"
        assert call(replicas[0].url + "/token", form=refresh_form(login))[0] == 400, (
            "the first token is refused"
        )
        assert call(replicas[0].url + "/token", form=refresh_form(last))[0] == 400, (
            "and its reuse has ended the session"
        )


def test_one_of_twenty_simultaneous_refreshes_succeeds_without_a_grace_period(
    strict_replicas: list[Server],
) -> None:
    for _ in range(3):
        _, login = call(strict_replicas[0].url + "/token", form=STUDENT)

        answers = send_together([post(strict_replicas, n, refresh_form(login)) for n in range(TOGETHER)])

        assert Counter(status for status, _ in answers) == {200: 1, 400: TOGETHER - 1}
        winner = next(answer for status, answer in answers if status == 200)
        assert call(strict_replicas[1].url + "/token", form=refresh_form(winner))[0] == 400, (
            "reuse ended the session"
        )


def test_using_the_successor_during_retries_leaves_at_most_one_live_token(replicas: list[Server]) -> None:
    """A retry before its use returns it; a retry after its use is reuse, which ends the session."""
    for _ in range(5):
        _, login = call(replicas[0].url + "/token", form=STUDENT)
        _, second = call(replicas[0].url + "/token", form=refresh_form(login))

        retries = [post(replicas, n, refresh_form(login)) for n in range(TOGETHER - 1)]
        (status, third), *answers = send_together([post(replicas, 1, refresh_form(second)), *retries])

        assert {answer["refresh_token"] for code, answer in answers if code == 200} <= {
            second["refresh_token"]
        }
        assert status == 200
        expected = 400 if 400 in {code for code, _ in answers} else 200
        assert call(replicas[1].url + "/token", form=refresh_form(third))[0] == expected


def test_simultaneous_refreshes_of_different_sessions_all_succeed(replicas: list[Server]) -> None:
    logins = [call(replicas[n % 2].url + "/token", form=STUDENT)[1] for n in range(8)]

    for _ in range(3):
        answers = send_together([post(replicas, n, refresh_form(login)) for n, login in enumerate(logins)])
        assert Counter(status for status, _ in answers) == {200: 8}
        logins = [answer for _, answer in answers]


def test_revocation_wins_over_a_simultaneous_refresh(replicas: list[Server]) -> None:
    for _ in range(5):
        _, login = call(replicas[0].url + "/token", form=STUDENT)

        refreshed, revoked = send_together(
            [
                post(replicas, 0, refresh_form(login)),
                post(replicas, 1, {"token": login["access_token"]}, "/revoke"),
            ]
        )

        assert (revoked[0], refreshed[0]) in {(200, 200), (200, 400)}
        newest = refreshed[1] if refreshed[0] == 200 else login
        assert call(replicas[0].url + "/token", form=refresh_form(newest))[0] == 400


def test_simultaneous_logins_succeed_or_are_asked_to_retry(replicas: list[Server]) -> None:
    answers = send_together([post(replicas, n, STUDENT) for n in range(8)])

    assert {status for status, _ in answers} <= {200, 503}, "or are asked to try again later"
    assert [status for status, _ in answers].count(200) >= 4
