"""Copy the repository as a fresh clone, to run scripts and documented commands in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

from tests.servers import ROOT, STOP_LIMIT, Server, listen, wait_until_ready


def copy_repository(folder: Path) -> Path:
    """Copy the files that git tracks, or would track, into a new repository, and return its folder."""
    copy_files(folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    return folder


def copy_files(folder: Path) -> None:
    """Copy the files that git tracks, or would track, into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():  # and is not deleted in the working tree
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def link_environment(clone: Path) -> None:
    """Make this virtual environment that of a clone too, so that scripts/test installs nothing."""
    venv = clone / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    shutil.copy(clone / "requirements-dev.txt", venv)


def link_packages(clone: Path) -> None:
    """Give a clone the packages that scripts/run needs and no others, so that it installs nothing.

    Flask imports every installed package that adds commands, which takes time.
    """
    venv, requirements = clone / ".venv", clone / "requirements-demo.txt"
    make_environment(venv)
    for name in re.findall(r"^([\w.-]+)(?:\[\w+\])?==", requirements.read_text(), re.MULTILINE):
        add_package(name, venv, Path.symlink_to)
    shutil.copy(requirements, venv)


def make_environment(venv: Path) -> None:
    """Create a virtual environment without pip, which takes three seconds to install."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)


def add_package(name: str, venv: Path, add: Callable[[Path, Path], object]) -> None:
    """Add a package of this virtual environment to another one. `add` gets a new path and the present one."""
    (packages,) = venv.glob("lib/python*/site-packages")
    package = distribution(name)
    for file in package.files or ():
        present = Path(os.path.normpath(str(package.locate_file(file))))
        if present.parent == Path(sys.prefix) / "bin":
            script = venv / "bin" / present.name
            script.write_text(re.sub(r"\A#!.*/python", f"#!{venv}/bin/python", present.read_text()))
            script.chmod(0o755)
        else:
            # Folders are added as a whole, except that of the compiled modules which are single files.
            parts = file.parts[: 2 if file.parts[0] == "__pycache__" else 1]
            new = packages.joinpath(*parts)
            new.parent.mkdir(exist_ok=True)
            if not new.exists():
                add(new, Path(str(package.locate_file("")), *parts))


def copy_tree(new: Path, present: Path) -> None:
    """Copy a folder with the times of its files, by which Python recognizes compiled modules."""
    shutil.copytree(present, new)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, check=True, text=True, timeout=60
    ).stdout


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = f"{sys.base_prefix}/bin:{os.environ['PATH']}"  # `python3` is this Python, not a script of pyenv
    return kept | {"PATH": path, "HOME": os.environ.get("HOME", "/")} | changes


def run(command: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def free_ports() -> dict[str, str]:
    """Return settings that make scripts/run use free ports."""
    with listen() as auth, listen() as course, listen() as web:
        listeners = {"AUTH_PORT": auth, "COURSE_PORT": course, "WEB_PORT": web}
        return {name: str(listener.getsockname()[1]) for name, listener in listeners.items()}


@contextmanager
def running(folder: Path, ports: dict[str, str], **changes: str) -> Iterator[tuple[Server, Server]]:
    """Run scripts/run until everything is ready, yield both services, and end it as Ctrl-C does."""
    log = folder.parent / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["scripts/run"],
            cwd=folder,
            env=environment(**ports, **changes),
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=reset_signals,
        )
    urls = [f"http://127.0.0.1:{ports[name]}" for name in ("AUTH_PORT", "COURSE_PORT")]
    services = [Server(url, process, log) for url in urls]
    try:
        for service in services:
            wait_until_ready(service, seconds=300)
        while "Ctrl-C ends everything." not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield services[0], services[1]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=STOP_LIMIT) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def reset_signals() -> None:
    """Handle Ctrl-C even if the tests run as a background job of a shell, which ignores it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
