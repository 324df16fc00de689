"""A document that is fetched in the background stays current despite failing fetches and processes."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from flask_resource_server.documents import fetching, memory_copy, renewal
from flask_resource_server.documents.disk_copy import DiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.fetching import MAXIMUM_ABANDONED, Fetcher, FetchError
from flask_resource_server.documents.locks import hold_lock
from tests.issuers import serve_issuer
from tests.servers import listen, wait_for

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Text:
    content: bytes


@dataclass
class Source:
    """Calls a function for each fetch, and records the process that fetched."""

    make: Callable[[], bytes]
    url: str = "http://issuer.example"
    interval: float = 1000
    fetches: list[int] = field(default_factory=list)

    def fetch(self) -> Text:
        self.fetches.append(os.getpid())
        return Text(self.make())

    def parse(self, content: bytes) -> Text:
        return Text(content)

    def merge(self, new: Text, known: Text | None) -> Text:  # noqa: ARG002
        return new

    def refresh(self, document: Text) -> float:  # noqa: ARG002
        return self.interval


def open_copy(source: Source, path: Path, cooldown: float = 1) -> FetchedCopy[Text]:
    return FetchedCopy(source, DiskCopy(path, "COPY_FILE"), cooldown=cooldown)


def text_of(copy: FetchedCopy[Text]) -> bytes | None:
    document = copy.document
    return document.content if document else None


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "issuer.example" in thread.name]


def test_nothing_happens_before_the_first_use(tmp_path: Path) -> None:
    source = Source(lambda: b"new", url="http://unused.issuer.example")
    before = threads()

    copy = open_copy(source, tmp_path / "copy")

    assert threads() == before
    assert (source.fetches, list(tmp_path.iterdir())) == ([], [])
    assert copy.request_renewal()
    assert text_of(copy) == b"new"


@pytest.mark.parametrize("error", [ValueError, MemoryError, RecursionError, SystemExit, KeyboardInterrupt])
def test_no_exception_stops_the_background_fetching(
    error: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [error("first"), error("second")]

    def make() -> bytes:
        if errors:
            raise errors.pop(0)
        return b"new"

    copy = open_copy(Source(make), tmp_path / "copy")

    wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")
    assert error.__name__ in caplog.text, "the log has its type"


@contextmanager
def forked(work: Callable[[], bytes]) -> Iterator[int]:
    """Run `work` in a child process, and yield a file descriptor from which its result can be read."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads, as tested here
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("holds", ["a fetch", "every lock"])
def test_forked_child_can_fetch_whatever_the_parent_was_doing(holds: str, tmp_path: Path) -> None:
    parent, going_on = os.getpid(), threading.Event()

    def make() -> bytes:
        if os.getpid() == parent:
            going_on.wait(60)
        return b"new"

    copy = open_copy(Source(make), tmp_path / "copy")
    reader = threading.Thread(target=lambda: copy.request_renewal())
    reader.start()
    wait_for((tmp_path / "copy.attempt").exists)

    def work() -> bytes:
        wait_for(lambda: copy.request_renewal() and text_of(copy) is not None, 40)
        return text_of(copy) or b"none"

    with forked(work) as reading:
        if holds == "a fetch":
            going_on.set()
        ready, _, _ = select.select([reading], [], [], 50)
        assert ready, "the child hangs"
        assert os.read(reading, 100) == b"new"
    going_on.set()
    reader.join()


def test_lock_never_released_by_another_process_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_copy, "TIMEOUT", 0.2)
    monkeypatch.setattr(renewal, "TIMEOUT", 0.2)
    (tmp_path / "copy.lock").touch()
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path / "copy.lock"], stdout=subprocess.PIPE)
    with other:
        try:
            assert other.stdout
            assert other.stdout.readline() == b"locked\n"
            copy = open_copy(Source(lambda: b"new"), tmp_path / "copy")

            wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")
        finally:
            other.kill()
    assert not (tmp_path / "copy").exists(), "only the holder of the lock writes"


def test_only_one_caller_waits_for_a_renewal(tmp_path: Path) -> None:
    going_on = threading.Event()
    going_on.set()

    def make() -> bytes:
        going_on.wait(60)
        return b"new"

    copy = open_copy(Source(make), tmp_path / "copy", cooldown=0.01)
    assert copy.request_renewal()
    going_on.clear()
    time.sleep(0.02)
    answers: list[bool] = []
    waiting = [threading.Thread(target=lambda: answers.append(copy.request_renewal())) for _ in range(6)]
    for thread in waiting:
        thread.start()

    wait_for(lambda: len(answers) == 5)

    assert answers == [False] * 5, "the outcome is unknown while the attempt is in progress"
    going_on.set()
    for thread in waiting:
        thread.join()


def test_copies_with_the_same_file_share_one_fetch(tmp_path: Path) -> None:
    sources = [Source(lambda: b"new"), Source(lambda: b"other")]
    copies = [open_copy(source, tmp_path / "copy", cooldown=100) for source in sources]

    assert [copy.request_renewal() for copy in copies] == [True, True]

    assert [text_of(copy) for copy in copies] == [b"new", b"new"]
    assert [len(source.fetches) for source in sources] == [1, 0]


def test_removed_copy_is_fetched_again_at_once(tmp_path: Path) -> None:
    """The record of a successful attempt does not delay the next one if there is no copy."""
    assert open_copy(Source(lambda: b"new"), tmp_path / "copy").request_renewal()
    wait_for((tmp_path / "copy").exists)  # it is written after the request was answered
    (tmp_path / "copy").unlink()

    copy = open_copy(Source(lambda: b"newer"), tmp_path / "copy", cooldown=100)

    copy.request_renewal()
    assert text_of(copy) == b"newer"


@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
def test_outdated_copy_that_could_not_be_overwritten_is_not_used_again(
    is_restarted: bool, tmp_path: Path
) -> None:
    """Anyone can cause the copy to be read again, with a token that names an unknown key."""
    contents = [b"old"]

    def make() -> bytes:
        if not contents:
            raise ValueError("the issuer is down")
        return contents[0]

    copy = open_copy(Source(make), tmp_path / "copy", cooldown=0.01)
    assert copy.request_renewal()
    wait_for((tmp_path / "copy").exists)
    (tmp_path / ".copy.draft").mkdir()  # has the effect of a full disk; file modes do not stop root
    if is_restarted:
        copy = open_copy(Source(make), tmp_path / "copy", cooldown=0.01)
        assert text_of(copy) == b"old"
    contents[0] = b"new"
    wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")
    contents.clear()

    wait_for(lambda: not copy.request_renewal())
    time.sleep(1.1)  # a copy is not read again within a second
    copy.request_renewal()

    assert text_of(copy) == b"new"


def test_unchanged_document_updates_the_copys_time_without_rewriting_it(tmp_path: Path) -> None:
    copy = open_copy(Source(lambda: b"text"), tmp_path / "copy", cooldown=0.01)
    assert copy.request_renewal()
    wait_for((tmp_path / "copy").exists)
    before = (tmp_path / "copy").stat()

    wait_for(lambda: copy.request_renewal() and (tmp_path / "copy").stat().st_mtime > before.st_mtime)

    assert (tmp_path / "copy").stat().st_ino == before.st_ino


def test_copy_dated_in_the_future_does_not_replace_a_newer_document(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(b"old")
    os.utime(path, (time.time() + 3600,) * 2)
    contents = [b"new"]
    copy = open_copy(Source(lambda: contents[0]), path, cooldown=0.01)
    wait_for(lambda: copy.request_renewal() and text_of(copy) == b"new")
    contents.clear()

    path.write_bytes(b"newer")
    wait_for(lambda: text_of(copy) == b"newer")
    path.write_bytes(b"old")
    os.utime(path, (time.time() + 3600,) * 2)

    wait_for(lambda: copy.request_renewal() is False)
    assert text_of(copy) == b"newer"


def test_name_resolution_that_hangs_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.1)
    going_on = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        going_on.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    fetcher = Fetcher("text/plain", 100)

    for _ in range(MAXIMUM_ABANDONED):
        with pytest.raises(FetchError, match="no complete response"):
            fetcher.fetch("http://issuer.example/x")
    with pytest.raises(FetchError, match="have not ended"):
        fetcher.fetch("http://issuer.example/x")
    assert len(threads()) >= MAXIMUM_ABANDONED
    going_on.set()
    wait_for(lambda: not [thread for thread in threads() if thread.name.startswith("GET")])


def test_unresponsive_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, a host may have an IPv6 address that cannot be reached."""
    with serve_issuer() as issuer, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        issuer.body = b"found"
        port = int(issuer.url.rpartition(":")[2].partition("/")[0])
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            for address in (full.getsockname(), ("127.0.0.1", port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

        assert Fetcher("text/plain", 100).fetch("http://issuer.example/x") == b"found"
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_fetch_from_a_hanging_server_is_abandoned_and_its_thread_ends(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    with closing(listen()) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/issuer.example"

        with pytest.raises(FetchError, match="no complete response within"):
            Fetcher("text/plain", 100).fetch(url)

        wait_for(lambda: not [thread for thread in threads() if thread.name == f"GET {url}"], 5)


def test_interval_is_capped_whatever_the_issuer_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_copy, "_LONGEST_PAUSE", 1)
    source = Source(lambda: b"text", interval=1000)
    copy = open_copy(source, tmp_path / "copy", cooldown=1000)
    assert copy.request_renewal()

    wait_for(lambda: len(source.fetches) > 2, 10)


def age(path: Path, seconds: float) -> None:
    """Date a copy and the record of its last successful fetch some seconds back."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    times = {"started_at": then, "good_at": then}
    path.with_name(f"{path.name}.attempt").write_text(json.dumps({"is_good": True, "problem": None, **times}))


@pytest.mark.parametrize("seconds", [10, 2000], ids=["young", "old"])
def test_copy_is_used_at_once_after_a_restart_only_if_it_is_young(seconds: int, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"old")
    age(tmp_path / "copy", seconds)

    def make() -> bytes:
        time.sleep(0.3)
        return b"new"

    copy = open_copy(Source(make), tmp_path / "copy")

    assert text_of(copy) == (b"new" if seconds > 1000 else b"old")


def test_request_during_a_round_that_does_not_fetch_causes_a_fetch(tmp_path: Path) -> None:
    """The first round after a start used to count as a fetch, and a valid token got a 401."""
    (tmp_path / "copy").write_bytes(b"old")
    age(tmp_path / "copy", 100)
    source = Source(lambda: b"new")
    copy = open_copy(source, tmp_path / "copy")
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(copy.request_renewal()))
    with hold_lock(tmp_path / "copy.lock", 1):  # which the round waits for
        assert text_of(copy) == b"old"
        asking.start()
        wait_for(copy._process.get()._waiting.locked)

    asking.join()

    assert (answers, text_of(copy)) == ([True], b"new")


def test_old_copy_is_used_after_a_restart_while_the_issuer_is_down(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"old")
    age(tmp_path / "copy", 2000)

    def make() -> bytes:
        raise ValueError("the issuer is down")

    assert text_of(open_copy(Source(make), tmp_path / "copy")) == b"old"


def test_hanging_first_fetch_is_waited_for_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "TIMEOUT", 0.5)
    (tmp_path / "copy").write_bytes(b"old")
    age(tmp_path / "copy", 2000)
    going_on = threading.Event()
    copy = open_copy(Source(lambda: b"new" if going_on.wait(60) else b""), tmp_path / "copy")

    assert text_of(copy) == b"old"
    times = []
    for _ in range(5):
        started = time.monotonic()
        assert text_of(copy) == b"old"
        times.append(time.monotonic() - started)
    assert sorted(times)[2] < 0.3, "another wait takes half a second"
    going_on.set()
    wait_for(lambda: text_of(copy) == b"new")


@pytest.mark.parametrize("interval", [1e10, 1e300, float("inf")])
def test_thread_survives_an_interval_too_long_for_any_clock(interval: float, tmp_path: Path) -> None:
    """The issuer's `ttl` sets the interval, and a thread that has ended never fetches again."""
    source = Source(lambda: b"text", url=f"http://{interval}.issuer.example", interval=interval)
    copy = open_copy(source, tmp_path / "copy", cooldown=0)
    wait_for(lambda: text_of(copy) == b"text")

    wait_for(lambda: copy.request_renewal() and len(source.fetches) > 1)
    assert any(thread.is_alive() and source.url in thread.name for thread in threads())


def test_hosts_that_start_together_do_not_fetch_together(tmp_path: Path) -> None:
    """Otherwise the issuer would get all their requests in the same second, for as long as they run."""
    second: list[float] = []

    def make(times: list[float]) -> bytes:
        times.append(time.monotonic())
        if len(times) == 2:
            second.append(times[1] - times[0])
        return b"new"

    hosts = [
        open_copy(Source(partial(make, []), interval=2, url=f"http://{n}.issuer.example"), tmp_path / f"{n}")
        for n in range(20)
    ]
    for host in hosts:
        assert text_of(host) or host.request_renewal()

    wait_for(lambda: len(second) == len(hosts))
    assert max(second) - min(second) > 0.1  # of the 0.4 s that they may be apart
