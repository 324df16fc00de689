"""Simulate many hosts that poll keys and status lists as the kit does, in one process: see bench.polling.

Each host has an address of its own on loopback, opens a connection for each fetch, and follows the kit's two
schedules: the keys, and the index of status lists with each list after it. Reads its task as JSON from
standard input, and prints the result.
"""

import asyncio
import json
import random
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 3  # seconds for a fetch: flask_resource_server/documents/fetching.py
FIRST_RETRY = 2  # seconds, until a fetch succeeds: flask_resource_server/documents/memory_copy.py
KEYS, INDEX = "/.well-known/jwks.json", "/.well-known/status-list"
LIST = f"{INDEX}/1"
INTERVALS = {(KEYS,): 60.0, (INDEX, LIST): 30.0}


@dataclass
class Results:
    """The results of all fetches of all hosts."""

    statuses: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    started: Counter[int] = field(default_factory=Counter)  # fetches by the second in which they started
    late: list[float] = field(default_factory=list)  # ms by which this process was behind its schedule
    completed: Counter[int] = field(default_factory=Counter)  # first rounds, by second


class Hosts:
    """All hosts. `jitter` is the share of an interval by which a pause may be shorter, at random."""

    def __init__(self, task: dict[str, Any]) -> None:
        url = urlsplit(task["url"])
        self.address = url.hostname or "", url.port or 443
        self.name = task.get("name") or url.netloc
        self.trust = ssl.create_default_context(cafile=task["trust"]) if url.scheme == "https" else None
        self.count, self.seconds, self.jitter = task["hosts"], task["seconds"], task["jitter"]
        self.is_together, self.is_cold = task["together"], task["cold"]
        self.results = Results()
        self.tags: dict[str, str] = {}  # known to all hosts, unless the start is cold

    async def run(self) -> Results:
        """Poll for so many seconds, and return the results."""
        if not self.is_cold:
            for path in (KEYS, INDEX, LIST):
                self.tags[path] = (await self.fetch("127.0.0.1", path, ""))[1]
        self.results = Results()
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                address = f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"
                for paths, interval in INTERVALS.items():
                    group.create_task(self.poll(address, paths, interval))
        return self.results

    async def poll(self, address: str, paths: tuple[str, ...], interval: float) -> None:
        """Fetch the documents one after the other, wait, and repeat, as the kit's renewal thread does."""
        due = self.began + random.uniform(0, 1 if self.is_together else interval)
        tags = dict(self.tags)
        is_known = not self.is_cold
        while due < self.began + self.seconds:
            await asyncio.sleep(due - time.monotonic())
            started = time.monotonic()
            self.results.late.append((started - due) * 1000)
            is_good = await self.round(address, paths, tags)
            if is_good and not is_known:
                self.results.completed[int(time.monotonic() - self.began)] += 1
            is_known = is_known or is_good
            pause = interval * random.uniform(1 - self.jitter, 1) if is_known else FIRST_RETRY
            due = max(started + pause, time.monotonic() + 1)

    async def round(self, address: str, paths: tuple[str, ...], tags: dict[str, str]) -> bool:
        """Fetch the documents of a schedule; return whether all fetches succeeded."""
        for path in paths:
            started = time.monotonic()
            self.results.started[int(started - self.began)] += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    status, tag = await self.fetch(address, path, tags.get(path, ""))
            except (OSError, EOFError, TimeoutError) as error:
                self.results.statuses[type(error).__name__] += 1
                return False
            self.results.statuses[status] += 1
            self.results.milliseconds.append((time.monotonic() - started) * 1000)
            if status not in {"200", "304"}:
                return False
            tags[path] = tag
        return True

    async def fetch(self, address: str, path: str, tag: str) -> tuple[str, str]:
        """GET a document over a new connection; return the status and the ETag."""
        condition = f"If-None-Match: {tag}\r\n" if tag else ""
        tls = {"ssl": self.trust, "server_hostname": self.name} if self.trust else {}
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(address, 0), **tls)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {self.name}\r\nAccept: application/json\r\n"
                f"Accept-Encoding: gzip\r\nUser-Agent: flask-resource-server\r\n{condition}\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = head.split(maxsplit=2)[1]
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            fields = {name.lower(): value for name, _, value in lines}
            if status != "304":
                await reader.readexactly(int(fields["content-length"]))
            return status, fields.get("etag", "")
        finally:
            writer.transport.abort()


def main() -> None:
    """Run the task on standard input."""
    results = asyncio.run(Hosts(json.load(sys.stdin)).run())
    json.dump(results.__dict__, sys.stdout)


if __name__ == "__main__":
    main()
