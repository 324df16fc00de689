"""Read the CPU time and memory of processes from /proc."""

import os
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # per second


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of a process and its children, also of those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended, and is now included in its parent's time
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
    """Start counting; return a function that returns the CPU seconds each process has used since."""
    before = [cpu_seconds(pid) for pid in pids]
    return lambda: [cpu_seconds(pid) - used for pid, used in zip(pids, before, strict=True)]


def proportional_set_size(pid: int) -> float:
    """Return the memory of a process in MiB; shared memory is divided among the processes (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
