"""Wrong clocks and the passage of time: real services whose clocks are changed while they run."""

import contextlib
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]
import pytest

from tests.servers import Pair, call, serve_pair, wait_for

LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="libfaketime is built for another machine",
)

STUDENT = {"username": "student1", "password": "password123"}
HOUR = 3600


@dataclass
class Clock:
    """The clock of the processes that run with its settings."""

    file: Path

    def __post_init__(self) -> None:
        self.set(0)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Set the clock ahead of the true time, or behind it if `seconds` is negative."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.replace(self.file)

    @contextlib.contextmanager
    def wrong(self, seconds: int) -> Iterator[None]:
        self.set(seconds)
        try:
            yield
        finally:
            self.set(0)


@dataclass
class Timed:
    """Both services, each with a clock."""

    pair: Pair
    auth_clock: Clock
    course_clock: Clock

    def log_in(self) -> dict[str, str]:
        status, answer = call(f"{self.pair.auth.url}/token", form=STUDENT)
        assert status == 200, answer
        return answer

    def use(self, token: str) -> tuple[int, str | None]:
        status, answer = call(f"{self.pair.course.url}/courses", token)
        return status, answer.get("error")


@contextlib.contextmanager
def serve_with_clocks(folder: Path, **auth_settings: str) -> Iterator[Timed]:
    clocks = [Clock(folder / f"{name}.clock") for name in ("auth", "course")]
    settings = [clock.settings for clock in clocks]
    with serve_pair(folder, auth_settings=settings[0] | auth_settings, course_settings=settings[1]) as pair:
        yield Timed(pair, *clocks)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    with serve_with_clocks(tmp_path_factory.mktemp("clocks")) as timed:
        yield timed


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_service_with_a_wrong_clock_refuses_tokens_until_it_is_corrected(seconds: int, timed: Timed) -> None:
    token = timed.log_in()["access_token"]
    assert timed.use(token) == (200, None)

    with timed.course_clock.wrong(seconds):
        assert [timed.use(token) for _ in range(4)] == [(401, "invalid_token")] * 4

    wait_for(lambda: [timed.use(token) for _ in range(4)] == [(200, None)] * 4)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_tokens_issued_with_a_wrong_clock_are_refused(seconds: int, timed: Timed) -> None:
    before = timed.log_in()
    with timed.auth_clock.wrong(seconds):
        assert timed.use(timed.log_in()["access_token"]) == (401, "invalid_token")

    wait_for(lambda: timed.use(timed.log_in()["access_token"]) == (200, None))
    assert refresh(timed, before)[0] == 200


def refresh(timed: Timed, answer: dict[str, str]) -> tuple[int, dict[str, str]]:
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    return call(f"{timed.pair.auth.url}/token", form=form)


# How far the clock is ahead of the true time at the rotation and at the retry, in seconds.
@pytest.mark.parametrize(
    ("at_rotation", "at_retry", "status"),
    [(0, 0, 200), (5, 0, 200), (0, 20, 400), (HOUR, 0, 400), (-HOUR, 0, 400)],
    ids=["correct", "slightly ahead at the rotation", "after the grace period", "set back", "set forward"],
)
def test_refresh_retry_across_a_clock_change(
    at_rotation: int, at_retry: int, status: int, timed: Timed
) -> None:
    login = timed.log_in()
    with timed.auth_clock.wrong(at_rotation):
        first = refresh(timed, login)
    with timed.auth_clock.wrong(at_retry):
        again = refresh(timed, login)

    assert (first[0], again[0]) == (200, status)
    assert refresh(timed, first[1])[0] == status, "the session is live, or was revoked"


def test_failed_logins_dated_in_the_future_do_not_lock_the_account(timed: Timed) -> None:
    teacher, url = {"username": "teacher1", "password": "password456"}, f"{timed.pair.auth.url}/token"
    with timed.auth_clock.wrong(HOUR):
        form = teacher | {"password": "wrong password"}
        assert [call(url, form=form)[0] for _ in range(7)][-1] == 429

    assert call(url, form=teacher)[0] == 200


def test_token_is_accepted_for_its_whole_lifetime_without_the_issuer(tmp_path: Path) -> None:
    with serve_with_clocks(tmp_path, ACCESS_TOKEN_LIFETIME="3600", STATUS_LIST_LIFETIME="7200") as timed:
        token = timed.log_in()["access_token"]
        assert timed.use(token) == (200, None)
        timed.pair.auth.stop()

        for minutes in (1, 20, 40, 59):
            timed.course_clock.set(minutes * 60)
            assert timed.use(token) == (200, None), f"after {minutes} minutes"

        timed.course_clock.set(61 * 60)
        assert timed.use(token) == (401, "invalid_token")
