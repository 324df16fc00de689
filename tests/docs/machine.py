"""Simulate the machine of someone who follows a page: a checkout, a shell, and servers."""

import re
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.clones import (
    add_package,
    copy_files,
    copy_tree,
    environment,
    git,
    link_packages,
    make_environment,
)
from tests.docs.pages import Block, Page, is_as_documented
from tests.docs.ports import choose_ports, find_bound_ports, replace_ports
from tests.docs.programs import LIMIT, READY, Program, start_program
from tests.docs.shell import Shell
from tests.servers import PATIENCE, wait_for

CLONE = "/path/to/a/clone/of/this/repository"
SOURCES = {"", ".conf", ".html", ".js", ".py"}  # the files of the checkout whose ports are replaced
AUTHOR = ["-c", "user.name=Reader", "-c", "user.email=reader@example.com"]


class Machine:
    """Runs the blocks of a page. All that it starts ends with `stack`."""

    def __init__(self, page: Page, folder: Path, stack: ExitStack) -> None:
        self.page = page
        self.programs: list[Program] = []
        self._folder, self._stack = folder, stack
        self._count = 0
        self._ports = choose_ports()
        self._environment = environment(LANG="C.UTF-8", FLASK_RUN_PORT=self._ports["5000"])
        self._clone = self._make_clone()
        self._shell = Shell(self._make_home() if page.kit else self._clone, self._environment)
        stack.callback(self._shell.stop)
        if page.serves:
            self._start("scripts/run", self._clone)

    def run(self, block: Block) -> None:
        """Do what a reader does with a block, and compare what it prints with what the page says."""
        if block.is_file:
            path = self._shell.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._adapt(block.text))
        elif block.is_server:
            folder = self._clone if block.is_in_repository else self._shell.folder
            program = self._start(block.text, folder)
            assert program.ports or block.output, (
                "the page must say at which port it listens, or what it prints"
            )
            self._compare_log(program, block)
        elif block.is_command:
            self._compare(
                block,
                self._shell.run(
                    self._adapt(block.text),
                    self._new_file("sh"),
                    self._clone if block.is_in_repository and self.page.kit else None,
                    any(block.text.startswith(start) for start in self.page.fails),
                ),
            )

    def open(self, page: Page) -> None:
        """Continue with another page, in its folder."""
        self.page = page
        home = self._folder / "reader" if page.kit else self._clone
        self._shell.run(f"cd '{home / page.folder}'", self._new_file("sh"))

    def _make_clone(self) -> Path:
        """Return a checkout whose services have the chosen ports as their defaults."""
        clone = self._folder / "repository"
        copy_files(clone)
        chosen = {name: port for name, port in self._ports.items() if name != "5000"}
        for path in clone.rglob("*"):
            if path.suffix in SOURCES and path.is_file():
                text = path.read_text()
                if (changed := replace_ports(text, chosen)) != text:
                    path.write_text(changed)
        git(clone, "init", "--quiet")
        git(clone, "add", "--all")
        git(clone, *AUTHOR, "commit", "--quiet", "--message", "Import")  # which pip installs
        link_packages(clone)
        settings = [f"{name}='{self._adapt(value)}'\n" for name, value in self.page.settings.items()]
        if settings:
            (clone / ".env").write_text("".join(settings))
        return clone

    def _make_home(self) -> Path:
        """Return an empty folder, and put a new virtual environment on the path."""
        home, venv = self._folder / "reader", self._folder / "venv"
        make_environment(venv)
        add_package("pip", venv, copy_tree)
        self._environment["PATH"] = f"{venv}/bin:{self._environment['PATH']}"
        home.mkdir()
        return home

    def _adapt(self, text: str) -> str:
        return replace_ports(text, self._ports).replace(CLONE, str(self._folder / "repository"))

    def _new_file(self, kind: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count}.{kind}"

    def _start(self, text: str, folder: Path) -> Program:
        command = self._adapt(text)
        ports = find_bound_ports(command, self._ports)
        for program in self.programs:
            if set(ports) & set(program.ports):
                program.stop()
        program = start_program(command, folder, self._environment, self._new_file("log"), ports)
        self._stack.callback(program.stop)
        self.programs.append(program)
        program.wait_until_ready()
        if "scripts/run" in command:
            wait_for(lambda: READY in program.output)
        return program

    def _compare(self, block: Block, printed: str) -> None:
        if block.output is not None:
            documented = self._adapt(block.output)
            assert is_as_documented(printed, documented), f"it prints:\n{printed}\nnot:\n{documented}"
        if block.statuses:
            statuses = re.findall(r"^HTTP/[\d.]+ (\d{3})", printed, re.MULTILINE)
            assert statuses == block.statuses, f"the statuses are {statuses}:\n{printed}"

    def _compare_log(self, program: Program, block: Block) -> None:
        """Wait until a server has printed what the page says, or has ended."""
        if block.output is not None:
            output = self._adapt(block.output)
            limit = PATIENCE if program.ports else LIMIT
            with suppress(AssertionError):
                wait_for(lambda: is_as_documented(program.output, output) or program.has_ended, limit)
            self._compare(block, program.output)
