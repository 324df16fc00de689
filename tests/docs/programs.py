"""The servers of a page: each in a terminal of its own, until the page ends."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.clones import reset_signals
from tests.servers import PATIENCE, STOP_LIMIT, is_listening

LIMIT = 300  # seconds: an installation takes one or two minutes on a busy machine
READY = "Ctrl-C ends everything."  # the last line of scripts/run


@dataclass
class Program:
    """A server, with its output and the ports at which it listens."""

    process: subprocess.Popen[bytes]
    log: Path
    ports: list[int]

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + LIMIT
        while not all(map(is_listening, self.ports)):
            assert not self.has_ended, f"the server has ended:\n{self.output}"
            assert time.monotonic() < deadline, f"no server after {LIMIT} seconds:\n{self.output}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and its children, as Ctrl-C in its terminal does."""
        if not self.has_ended:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(PATIENCE)  # scripts/run waits for its services
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(STOP_LIMIT)


def start_program(
    command: str, folder: Path, environment: dict[str, str], log: Path, ports: list[int]
) -> Program:
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euc", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=reset_signals,
        )
    return Program(process, log, ports)
