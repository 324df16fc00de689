"""The documents layer imports nothing above it, and runs on platforms without POSIX locks."""

import ast
import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.locks import hold_lock
from tests.servers import ROOT
from tests.unit.test_fetched_copy import Source, Text, forked, open_copy, text_of

FILES = sorted((ROOT / "flask_resource_server" / "documents").glob("*.py"))

# What Windows lacks. This is a simulation: it shows which functions are used, not how Windows behaves.
SIMULATED_WINDOWS = """
import os, sys
sys.modules["fcntl"] = None
for name in ("fchown", "fchmod", "fork", "geteuid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
really_open = os.open
def open_file(path, flags, mode=0o777, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return really_open(path, flags, mode, **options)
os.open = open_file
"""

FETCH = """
from pathlib import Path
from flask_resource_server.documents.disk_copy import DiskCopy
from tests.servers import wait_for
from tests.unit.test_fetched_copy import Source, open_copy, text_of
source = Source(lambda: b"new")
copy = open_copy(source, Path(sys.argv[1]))
assert copy.request_renewal()
assert text_of(copy) == b"new"
wait_for(Path(sys.argv[1]).exists)
other = open_copy(Source(lambda: b"other"), Path(sys.argv[1]), cooldown=100)
assert text_of(other) == b"new", "it was read from the disk"
"""

REUSE_NUMBER = """
import os
from flask_resource_server.documents.processes import PerProcess
value = PerProcess(list)
reading, writing = os.pipe()
first = os.fork()
if first == 0:
    value.get().append("of another")
    number = os.getpid()
    if os.fork():
        os._exit(0)
    os.read(reading, 1)  # until the parent of this process is gone
    for _ in range(1000):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(number - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() == number:
                print(value.get() or "own", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        if child == number:
            break
    os._exit(0)
os.waitpid(first, 0)
os.write(writing, b"x")
"""

WRITE_AT_ONCE = """
import threading
from pathlib import Path
from flask_resource_server.documents.files import replace_file
problems, path = [], Path(sys.argv[1])
def write():
    try:
        for _ in range(200):
            replace_file(path, b"new", 0o644)
    except OSError as error:
        problems.append(error)
threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not problems, problems
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_documents_layer_imports_only_the_standard_library(path: Path) -> None:
    imported = {
        module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    own = ("flask_resource_server.documents.", "flask_resource_server.exceptions")

    foreign = {module for module in imported if module.partition(".")[0] not in sys.stdlib_module_names}

    assert not {module for module in foreign if not module.startswith(own)}


@pytest.mark.slow
@pytest.mark.parametrize("code", [FETCH, WRITE_AT_ONCE], ids=["fetch with a copy", "simultaneous writes"])
def test_documents_layer_runs_on_a_simulated_windows(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED_WINDOWS + code, tmp_path / "copy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing was logged"
    assert (tmp_path / "copy").read_bytes() == b"new"
    assert not list(tmp_path.glob(".*")), "no draft is left"


@pytest.mark.slow
def test_applications_in_one_process_share_one_fetch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """POSIX record locks do not exclude threads of one process, which used to fetch at the same time."""

    def fetch_slowly() -> bytes:
        time.sleep(0.3)
        return b"new"

    sources = [Source(fetch_slowly) for _ in range(4)]
    copies = [open_copy(source, tmp_path / "copy", cooldown=100) for source in sources]
    threads = [threading.Thread(target=copy.request_renewal) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [text_of(copy) for copy in copies] == [b"new"] * 4
    assert sum(len(source.fetches) for source in sources) == 1
    assert "cannot write" not in caplog.text


def test_child_gets_a_lock_held_at_the_fork_once_the_parent_releases_it(tmp_path: Path) -> None:
    with contextlib.ExitStack() as lock:
        assert lock.enter_context(hold_lock(tmp_path / "lock", 1))

        def work() -> bytes:
            with hold_lock(tmp_path / "lock", 20) as is_locked:
                return str(is_locked).encode()

        with forked(work) as reading:
            time.sleep(0.1)
            lock.close()
            assert select.select([reading], [], [], 30)[0]
            assert os.read(reading, 100) == b"True"


@pytest.mark.skipif(
    not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK), reason="only root can choose process IDs"
)
@pytest.mark.slow
def test_per_process_value_is_not_inherited_by_a_process_with_a_reused_id() -> None:
    """A process uses the value, forks and exits; its child then forks a process with the same ID."""
    done = subprocess.run(
        [sys.executable, "-c", REUSE_NUMBER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("own\n", "")


def test_lock_is_exclusive_across_different_paths_to_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")

    with (
        hold_lock(tmp_path / "folder" / "lock", 0.1) as first,
        hold_lock(tmp_path / "link" / "lock", 0.1) as second,
    ):
        assert (first, second) == (True, False)


@pytest.mark.slow
def test_document_is_kept_in_memory_if_no_folder_for_copies_is_set(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    answers = threading.Event()
    answers.set()

    def fetch() -> bytes:
        if not answers.is_set():
            raise ValueError("the issuer is down")
        return b"new"

    copies: list[FetchedCopy[Text]] = [
        FetchedCopy(Source(make), NoDiskCopy("MY_COPIES"), cooldown=0) for make in (fetch, lambda: b"other")
    ]
    assert [copy.request_renewal() for copy in copies] == [True, True]
    answers.clear()

    assert not copies[0].request_renewal()

    assert [text_of(copy) for copy in copies] == [b"new", b"other"]
    (line,) = [message for _, _, message in caplog.record_tuples if "MY_COPIES" in message]
    assert line.startswith("each process fetches for itself")


@pytest.mark.slow
def test_unwritable_folder_is_logged_once_with_its_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskCopy(tmp_path / "missing" / "copies" / "copy", "MY_COPIES")
    copy: FetchedCopy[Text] = FetchedCopy(Source(lambda: b"new"), disk, cooldown=0)

    assert copy.request_renewal()
    assert copy.request_renewal()

    (line,) = [message for _, _, message in caplog.record_tuples if "cannot write" in message]
    assert "No such file" in line
    assert "make the folder in MY_COPIES writable" in line
