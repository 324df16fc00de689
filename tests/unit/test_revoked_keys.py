"""The record of revoked keys loses no entry, and an unreadable record never counts as empty."""

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import auth_app
from auth_app.keys.revoked_keys import RevokedKeys, UnusableRecord, read_record, record_revocation
from shared.startup import check_startup
from tests.conftest import KeyPair, get_token, open_auth

KIDS = [letter * 42 + "A" for letter in "abcdefghij"]
LINE = f"{KIDS[0]} 2026-11-25T12:00:00Z\n"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "instance/revoked_keys"


@pytest.fixture
def good(record: Path) -> Path:
    """A record of one key."""
    record.parent.mkdir()
    record.write_text(LINE)
    return record


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair, good: Path) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, revoked_keys_file=good) as client:
        yield client


def test_record_has_one_line_per_key_and_is_world_readable(record: Path) -> None:
    umask = os.umask(0o077)
    try:
        for kid in KIDS[:2]:
            record_revocation(record, kid)
    finally:
        os.umask(umask)

    assert re.fullmatch(rf"{KIDS[0]} 2\d{{3}}-\S+Z\n{KIDS[1]} 2\d{{3}}-\S+Z\n", record.read_text())
    assert stat.S_IMODE(record.stat().st_mode) == 0o644
    assert list(read_record(record)) == KIDS[:2]


def test_key_is_recorded_once_and_keeps_its_time(good: Path) -> None:
    record_revocation(good, KIDS[0])

    assert good.read_text() == LINE


@pytest.mark.parametrize("length", range(len(LINE)))
def test_truncated_line_does_not_affect_others(length: int, good: Path) -> None:
    """A power failure may leave any part of the last line, without its line break."""
    torn = LINE.replace("a", "b")[:length]
    good.write_text(LINE + torn)
    known = KIDS[:2] if length == len(LINE) - 1 else KIDS[:1]
    assert list(read_record(good)) == known, "a complete line counts even without its line break"

    record_revocation(good, KIDS[2])

    assert list(read_record(good)) == [*known, KIDS[2]]
    assert good.read_text().startswith(LINE)
    assert re.fullmatch(r"(\S{43} \S{20}\n)+", good.read_text())


def test_truncated_first_line_is_ignored(good: Path) -> None:
    good.write_bytes(b"\0" * 30)

    record_revocation(good, KIDS[0])

    assert list(read_record(good)) == KIDS[:1]


def test_concurrent_revocations_are_all_recorded(record: Path) -> None:
    threads = [threading.Thread(target=record_revocation, args=(record, kid)) for kid in KIDS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(read_record(record)) == KIDS
    assert record.read_text().count("\n") == len(KIDS)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nonsense": (lambda path: path.write_text("nonsense\n" + LINE), "is damaged in line 1"),
    "a line without a time": (lambda path: path.write_text(LINE + f"{KIDS[1]}\n"), "is damaged in line 2"),
    "no such day": (lambda path: path.write_text(LINE.replace("-25T", "-32T")), "is damaged in line 1"),
    "an empty line": (lambda path: path.write_text(LINE + "\n"), "is damaged in line 2"),
    "binary data": (lambda path: path.write_bytes(b"\xff\0\n" + LINE.encode()), "is damaged in line 1"),
    "a folder": (make_folder, "cannot be read (Is a directory)"),
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.values(), ids=DAMAGES)
def test_issuer_does_not_start_with_a_damaged_record(
    damage: Callable[[Path], object],
    problem: str,
    good: Path,
    auth: FlaskClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(good)

    with pytest.raises(SystemExit):
        check_startup(auth_app.create_app(auth.application.extensions["settings"]))

    line = capsys.readouterr().err
    assert line.startswith(f"auth_app cannot start: {good} ")
    assert problem in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        *DAMAGES.values(),
        (lambda path: path.unlink(), f"no longer names {KIDS[0]}: put the file back as it was"),
        (lambda path: path.write_text(""), f"no longer names {KIDS[0]}"),
        (lambda path: path.write_text(LINE.replace("a", "b")), f"no longer names {KIDS[0]}"),
    ],
    ids=[*DAMAGES, "removed", "emptied", "another key"],
)
def test_running_issuer_keeps_its_revoked_keys_if_the_record_is_damaged(
    damage: Callable[[Path], object],
    problem: str,
    good: Path,
    auth: FlaskClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert auth.get("/readyz").json == {"status": "ok"}
    before = RevokedKeys(good)
    assert KIDS[0] in before

    damage(good)

    assert auth.get("/readyz").json == {"status": "degraded", "degraded": ["revoked_keys"]}
    assert problem in caplog.text
    assert KIDS[0] in before
    assert get_token(auth)

    if good.is_dir():
        good.rmdir()
    good.write_text(LINE)
    assert auth.get("/readyz").json == {"status": "ok"}


def test_damaged_record_is_not_written_to(good: Path) -> None:
    good.write_text("nonsense\n")

    with pytest.raises(UnusableRecord, match="is damaged in line 1"):
        record_revocation(good, KIDS[1])

    assert good.read_text() == "nonsense\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_inaccessible_record_is_not_treated_as_empty(good: Path) -> None:
    good.parent.chmod(0o755)
    good.chmod(0o600)
    os.seteuid(12345)
    try:
        with pytest.raises(UnusableRecord, match="cannot be read"):
            read_record(good)
        with pytest.raises(UnusableRecord, match="cannot be written"):
            record_revocation(good, KIDS[1])
    finally:
        os.seteuid(0)
