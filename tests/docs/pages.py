"""Split a page into its fenced blocks."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers import ROOT

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<options>[^`\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"[\w./-]*\.\w+")
OUTPUT = {"text", "json"}


@dataclass(frozen=True)
class Page:
    """A page, and what its reader has before the first command."""

    path: str
    serves: bool = False  # scripts/run is running
    kit: bool = False  # an empty folder with a new virtual environment instead of a checkout
    folder: str = "."  # where its commands run, below the checkout or the empty folder
    then: tuple["Page", ...] = ()  # pages that continue where this one ends, in any order
    settings: dict[str, str] = field(default_factory=dict)  # the .env of the checkout
    fails: tuple[str, ...] = ()  # the beginnings of blocks that must fail

    def read_blocks(self) -> list["Block"]:
        return list(find_blocks((ROOT / self.path).read_text()))


@dataclass(frozen=True)
class Block:
    """A fenced block. `output` is what it prints according to the page, or None."""

    language: str
    title: str
    text: str
    line: int
    output: str | None = None

    @property
    def is_command(self) -> bool:
        return self.language == "sh"

    @property
    def is_file(self) -> bool:
        return not self.is_command and bool(FILE.fullmatch(self.title))

    @property
    def is_server(self) -> bool:
        return self.is_command and (
            "terminal" in self.title.lower() or self.text.rstrip().endswith("scripts/run")
        )

    @property
    def statuses(self) -> list[str]:
        """The statuses in the comments after `curl -i`."""
        return re.findall(r"^curl -i .*?# .*?(\d{3})\b", self.text, re.MULTILINE) if self.is_command else []

    @property
    def is_in_repository(self) -> bool:
        return "repository" in self.title.lower()


def find_blocks(page: str) -> Iterator[Block]:
    matches = list(FENCE.finditer(page))
    for match, following in zip(matches, [*matches[1:], None], strict=False):
        title = re.search(r'title="([^"]*)"', match["options"])
        yield Block(
            match["language"],
            title[1] if title else "",
            textwrap.dedent(match["text"]),
            page.count("\n", 0, match.start()) + 1,
            _find_output(page, match, following),
        )


def _find_output(page: str, match: re.Match[str], following: re.Match[str] | None) -> str | None:
    if match["language"] != "sh" or following is None or following["language"] not in OUTPUT:
        return None
    between = page[match.end() : following.start()]
    if between.strip() or "title=" in following["options"]:
        return None
    return textwrap.dedent(following["text"])


def is_as_documented(printed: str, documented: str) -> bool:
    """Compare what was printed with a block of a page, in which `...` stands for any text."""
    pattern = ""
    for line in documented.strip("\n").splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\n]*".join(map(re.escape, line.rstrip().split("..."))) + r"[ \r]*\n"
    return bool(re.fullmatch(pattern, printed.strip("\n") + "\n"))
