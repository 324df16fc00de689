"""Send requests at a fixed rate, whether or not the server keeps up, and measure their latencies.

Each request is due at a certain time, and its latency counts from then. A generator such as wrk, which waits
for a response before it sends the next request, sends fewer requests while the server is slow, and so misses
the time that other users would have waited ("coordinated omission").
"""

import asyncio
import math
import re
import time
from collections import deque
from urllib.parse import urlsplit

CONNECTIONS = 16


def send_steadily(url: str, headers: dict[str, str], rate: float, seconds: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of the latencies in milliseconds.

    Raises `RuntimeError` if a response was not a success, `TimeoutError` if the server falls far behind.
    """
    latencies = asyncio.run(_send(url, headers, rate, seconds))
    if any(math.isnan(latency) for latency in latencies):
        raise RuntimeError(f"{url}: not every response was a success")
    latencies.sort()
    return latencies[len(latencies) // 2] * 1000, latencies[len(latencies) * 99 // 100] * 1000


async def _send(url: str, headers: dict[str, str], rate: float, seconds: int) -> list[float]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
    free: deque[_Connection] = deque()
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Connection(free, latencies), host, port)
    connections = list(free)
    count, started = int(rate * seconds), time.perf_counter()
    async with asyncio.timeout(10 * seconds + 10):
        for number in range(count):
            due = started + number / rate
            while time.perf_counter() < due or not free:
                await asyncio.sleep(0)  # busy waiting, on a core of its own: a timer would be less exact
            free.popleft().send(request, due)
        while len(latencies) < count:
            await asyncio.sleep(0)
    for connection in connections:
        connection.close()
    return latencies


class _Connection(asyncio.Protocol):
    """A connection with at most one request in flight; it is free again after the response."""

    def __init__(self, free: "deque[_Connection]", latencies: list[float]) -> None:
        self.free, self.latencies = free, latencies
        self.answer, self.due = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Mark the connection as free."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.free.append(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at that time."""
        self.answer, self.due = b"", due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count a response once it is complete."""
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if end and length and len(body) >= int(length[1]):
            is_good = b" 200 " in head[:14]
            self.latencies.append(time.perf_counter() - self.due if is_good else math.nan)
            self.free.append(self)

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()
