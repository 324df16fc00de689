"""Determine the versions of the measured packages, and describe the machine."""

import json
import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bench.programs import Program
from bench.servers import NODE, PEERS


def describe_versions(program: Program) -> str:
    """Return the packages of a program with their versions."""
    find = version
    if "{peers}" in program.command:
        find = _find_in_peers
    elif "{node}" in program.command:
        find = _find_in_node
    return ", ".join(f"{name} {find(name)}" for name in program.packages.split())


@cache
def _find_in_peers(name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([str(PEERS), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@cache
def _find_in_node(name: str) -> str:
    if name == "node":
        shown = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
        return shown.strip().removeprefix("v")
    package = json.loads((NODE / "node_modules" / name / "package.json").read_text())
    return str(package["version"])


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on besides the programs: the CPU, Python and cryptography."""
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "cryptography": version("cryptography"),
    }
