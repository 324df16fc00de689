"""Send requests with tokens at a steady rate over open connections, in a process of its own: see bench.flood.

Reads its task as JSON from standard input, and prints the result. The time of a request counts from when it
was due, so that the time it waited for others is included.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any


class Stream:
    """Sends the tokens of a file in turn, at a fixed rate."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.port, self.path, self.connections = task["port"], task["path"], task["connections"]
        self.tokens = Path(task["tokens"]).read_text().split()
        self.rate, self.seconds = task["rate"], task["seconds"]
        self.sent = 0
        self.statuses: Counter[str] = Counter()
        self.milliseconds: list[float] = []

    async def run(self) -> dict[str, Any]:
        """Send until the time is over, and return the result."""
        self.began = time.monotonic()
        await asyncio.gather(*(self.send() for _ in range(self.connections)))
        seconds = time.monotonic() - self.began
        return {"seconds": seconds, "statuses": self.statuses, "milliseconds": self.milliseconds}

    async def send(self) -> None:
        """Send the requests that are due over one connection, which is reopened if it was closed."""
        writer = None
        while (due := self.began + self.sent / self.rate) < self.began + self.seconds:
            token = self.tokens[self.sent % len(self.tokens)]
            self.sent += 1
            await asyncio.sleep(due - time.monotonic())
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.statuses[await self.ask(reader, writer, token)] += 1
                self.milliseconds.append((time.monotonic() - due) * 1000)
            except (OSError, EOFError) as error:
                self.statuses[type(error).__name__] += 1
                writer = None
        if writer:
            writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> str:
        """Send one request; return the status of the response."""
        writer.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0]))
        if "connection: close" in head:
            raise EOFError
        return head.split(maxsplit=2)[1]


def main() -> None:
    """Run the task on standard input."""
    json.dump(asyncio.run(Stream(json.load(sys.stdin)).run()), sys.stdout)


if __name__ == "__main__":
    main()
