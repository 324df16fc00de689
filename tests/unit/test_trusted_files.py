"""Copies that other users may have written are not used: they decide which tokens are accepted."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_resource_server.documents.disk_copy import MAXIMUM_SIZE, NO_ATTEMPT, DiskCopy
from tests.servers import wait_for
from tests.unit.test_fetched_copy import Source, forked, open_copy, text_of

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


def give_away(path: Path) -> None:
    os.chown(path, 12345, -1)


def let_group_write(path: Path) -> None:
    path.chmod(0o775 if path.is_dir() else 0o664)


def let_all_write(path: Path) -> None:
    path.chmod(0o1777 if path.is_dir() else 0o666)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_large(path: Path) -> None:
    os.truncate(path, MAXIMUM_SIZE + 1)


BAD_FOLDERS = [pytest.param(give_away, marks=as_root), let_group_write, let_all_write]
BAD_FILES = [*BAD_FOLDERS, link, make_pipe, make_large]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a planted copy, and a record that says it is recent."""
    folder = tmp_path / "copies"
    folder.mkdir()
    (folder / "copy").write_bytes(b"planted")
    times = {"started_at": time.time(), "good_at": time.time()}
    (folder / "copy.attempt").write_text(json.dumps({"is_good": True, "problem": None, **times}))
    return folder


def fail() -> bytes:
    raise ValueError("the issuer is down")


def test_copy_in_a_private_folder_is_used(folder: Path) -> None:
    assert text_of(open_copy(Source(lambda: b"new"), folder / "copy", cooldown=100)) == b"planted"


@pytest.mark.parametrize("spoil", BAD_FOLDERS)
def test_folder_that_others_can_write_to_is_not_used(
    spoil: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder)
    before = {path: path.stat().st_mtime for path in folder.iterdir()}

    for _ in range(2):
        copy = open_copy(Source(lambda: b"new"), folder / "copy", cooldown=0.01)
        wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")  # noqa: B023

    assert {path: path.stat().st_mtime for path in folder.iterdir()} == before
    (line,) = [message for _, _, message in caplog.record_tuples if str(folder) in message]
    assert line.startswith(f"ignoring the copies in {folder}: ")
    assert "COPY_FILE must be a folder that only this service can write to" in line


@pytest.mark.parametrize("spoil", BAD_FILES)
def test_file_that_others_may_have_written_is_replaced(
    spoil: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder / "copy")
    contents: list[bytes] = []
    source = Source(lambda: contents[0])
    copy = open_copy(source, folder / "copy", cooldown=0.01)
    assert not copy.request_renewal()
    assert text_of(copy) is None

    contents.append(b"new")
    wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")

    wait_for(lambda: text_of(open_copy(Source(fail), folder / "copy")) == b"new")
    assert (folder / "copy").lstat().st_uid == os.geteuid()
    assert len([line for _, _, line in caplog.record_tuples if "ignoring" in line]) == (spoil is not link)


@pytest.mark.parametrize("spoil", [*BAD_FOLDERS, link, make_pipe])
def test_record_that_others_may_have_written_is_ignored(spoil: Callable[[Path], None], folder: Path) -> None:
    spoil(folder / "copy.attempt")

    assert DiskCopy(folder / "copy", "COPIES").last_attempt() == NO_ATTEMPT


GOOD = {"started_at": 1.0, "is_good": False, "problem": None, "good_at": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": 10**400},
        {"good_at": 10**400},
        {"started_at": float("nan")},
        {"good_at": float("inf")},
        {"good_at": 1e300},
        {"good_at": -1},
        {"good_at": [1]},
    ],
    ids=lambda changes: f"{changes!r:.30}",
)
def test_record_with_invalid_times_is_ignored(changes: dict[str, Any], folder: Path) -> None:
    (folder / "copy.attempt").write_text(json.dumps(GOOD | changes))

    assert DiskCopy(folder / "copy", "COPIES").last_attempt() == NO_ATTEMPT


def test_deeply_nested_record_is_ignored(folder: Path) -> None:
    (folder / "copy.attempt").write_bytes(b"[" * 60_000)

    assert DiskCopy(folder / "copy", "COPIES").last_attempt() == NO_ATTEMPT


def test_record_cannot_forge_log_lines(folder: Path) -> None:
    (folder / "copy.attempt").write_text(json.dumps(GOOD | {"problem": "x\nCRITICAL: \x1b[31m\u00e9"}))

    assert DiskCopy(folder / "copy", "COPIES").last_attempt().problem == "x\\nCRITICAL: \\x1b[31m\\xe9"


def test_new_folder_is_accessible_only_to_this_user(tmp_path: Path) -> None:
    assert open_copy(Source(lambda: b"new"), tmp_path / "copies" / "copy").request_renewal()

    wait_for((tmp_path / "copies").exists)
    assert (tmp_path / "copies").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
def test_copies_written_by_root_are_used_by_another_user(public_folder: Path) -> None:
    assert open_copy(Source(lambda: b"of root"), public_folder / "copy").request_renewal()
    wait_for((public_folder / "copy").exists)

    def work() -> bytes:
        os.setuid(23456)
        return text_of(open_copy(Source(fail), public_folder / "copy")) or b"none"

    with forked(work) as reading:
        assert os.read(reading, 100) == b"of root"
