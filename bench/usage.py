"""Read from /proc what processes have used: CPU time and memory."""

import os
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # per second


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of a process and its children, those that ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended, and its parent counts it now
        return 0.0
    own = sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime
    return own + sum(map(cpu_seconds, children(pid)))


def children(pid: int) -> list[int]:
    """Return the process IDs of the children of a process."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def meter(*pids: int) -> Callable[[], list[float]]:
    """Start counting; what is returned returns the CPU seconds that each process has used since."""
    before = [cpu_seconds(pid) for pid in pids]
    return lambda: [cpu_seconds(pid) - used for pid, used in zip(pids, before, strict=True)]


def proportional_set_size(pid: int) -> float:
    """Return the MiB of a process, what it shares with others divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
