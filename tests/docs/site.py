"""Build the documentation as a static site, and read its pages."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers import ROOT

# What a browser loads by itself: elements with the attribute that names it, and kinds of <link>.
LOADED = {
    "audio": {"src"},
    "embed": {"src"},
    "iframe": {"src"},
    "image": {"href", "xlink:href"},
    "img": {"src", "srcset"},
    "input": {"src"},
    "object": {"data"},
    "script": {"src"},
    "source": {"src", "srcset"},
    "track": {"src"},
    "use": {"href", "xlink:href"},
    "video": {"src", "poster"},
}
UNLOADED_LINKS = {"canonical", "next", "prev"}


def build(folder: Path, *options: str, untracked: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
    """Build the site into `folder`; the first time, MkDocs is installed into .venv-docs.

    The build sees the existing files in `untracked` as files that git does not track.
    """
    index = subprocess.check_output(["git", "rev-parse", "--git-path", "index"], cwd=ROOT, text=True).strip()
    environment = os.environ | {"GIT_INDEX_FILE": f"{folder}.index"}
    shutil.copy(ROOT / index, environment["GIT_INDEX_FILE"])
    subprocess.run(
        ["git", "update-index", "--force-remove", "--", *untracked], cwd=ROOT, env=environment, check=True
    )
    return subprocess.run(
        ["scripts/docs", "build", "--site-dir", folder, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@dataclass
class Document(HTMLParser):
    """A page of the site: what it links to, what it loads, its anchors, and its paragraphs as text."""

    path: Path
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    paragraphs: list[str] = field(default_factory=list)
    code: str = ""  # of scripts and styles in the page

    def __post_init__(self) -> None:
        super().__init__()
        self._inside: list[str] = []
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        self.code += attributes.get("style", "")
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") not in UNLOADED_LINKS:
            self.loads.append(attributes["href"])
        self.loads += [attributes[name] for name in LOADED.get(tag, ()) if name in attributes]
        if tag == "code" and self._inside[-1:] == ["p"]:
            self.paragraphs[-1] += "`"
        if tag in {"p", "code", "script", "style"}:
            self._inside.append(tag)
            if tag == "p":
                self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["p"]:
            self.paragraphs[-1] += data
        elif self._inside and self._inside[-1] in {"script", "style"}:
            self.code += data

    def find_dead(self, documents: "dict[Path, Document]") -> Iterator[str]:
        """Yield every broken link to an address on this site."""
        for url in {*self.links, *self.loads}:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            path = (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path
            path = path / "index.html" if path.is_dir() else path
            anchors = documents[path].anchors if path in documents else set()
            if not path.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                yield url


def read_documents(site: Path) -> dict[Path, Document]:
    """Return all pages except 404.html, whose links start at the root of the host."""
    pages = (path for path in site.rglob("*.html") if path.is_file() and path.name != "404.html")
    return {path: Document(path) for path in pages}


def find_urls(code: str) -> set[str]:
    """Return the addresses of other hosts in the strings of JavaScript, or in CSS, but not in comments.

    Names of XML namespaces are not addresses.
    """
    uncommented = re.sub(r"/\*.*?\*/|^\s*//.*?$", "", code, flags=re.DOTALL | re.MULTILINE)
    urls = re.findall(r"""(?:["'`]|url\()\s*((?:https?://|//[\w-]+\.)[^"'`)\s]+)""", uncommented)
    return {url for url in urls if not url.startswith("http://www.w3.org/")}
