"""Publish the files of the repository that pages link to, so that these links work in the site too.

A hook of MkDocs (https://www.mkdocs.org/user-guide/configuration/#hooks). A link such as
../../deploy/nginx.conf leads to a page with the file's text; a link to a folder, to a list of its files. Only
files that git tracks are published: run `git add` to see a new page. Others may contain secrets.
"""

import posixpath
import subprocess
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

from docs.generate.markdown import adapt_lists, replace_targets
from docs.generate.templates import ROOT

FOLDER = "repository"
IMAGES = {".png", ".svg"}
# Pages of the repository that are documentation: the search finds them.
DOCUMENTS = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}


class Repository:
    """The files and folders that git tracks, by their paths, and the page of each."""

    def __init__(self) -> None:
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        self.files = {path for path in listed.split("\0") if (ROOT / path).is_file()}
        parents = (posixpath.dirname(path) for path in self.files)
        self.folders = {folder for path in parents for folder in _ancestors(path)}
        self.sources = {self.page_of(path): path for path in sorted(self.files | self.folders)}

    def page_of(self, path: str) -> str:
        """Return the path of a file or folder in the site, from the folder of all pages."""
        if path.startswith("docs/"):
            return path.removeprefix("docs/")
        if path in self.folders:
            return f"{FOLDER}/{path}/index.md"
        if posixpath.basename(path) == "README.md":
            return f"{FOLDER}/{posixpath.dirname(path)}/index.md".replace("//", "/")
        if Path(path).suffix in {".md", *IMAGES}:
            return f"{FOLDER}/{path}"
        # A page named index.html would be in the place of its folder's.
        return f"{FOLDER}/{path.replace('index.html', 'index-html')}.md"

    def rebase(self, markdown: str, page: str, found: set[str] | None = None) -> str:
        """Return the text of a page with links to what is published; add what it links to to `found`."""
        source = self.sources.get(page, page)
        folder = source if source in self.folders else posixpath.dirname(source)

        def replace(target: str, is_html: bool) -> str:
            path = posixpath.normpath(posixpath.join(folder, target))
            if ":" in target or target.startswith("/") or path not in self.files | self.folders:
                return target
            if found is not None:
                found.add(path)
            # MkDocs turns the paths of Markdown into addresses, but not those of HTML: a/b.md is at a/b/.
            here = page.removesuffix("index.md").removesuffix(".md") if is_html else posixpath.dirname(page)
            return posixpath.relpath(self.page_of(path), here or ".")

        return replace_targets(markdown, replace)

    def text_of(self, path: str) -> str:
        """Return the Markdown of the page about a file or folder."""
        if path in self.folders:
            readme = f"{path}/README.md"
            return self._list(path) + ((ROOT / readme).read_text() if readme in self.files else "")
        text = (ROOT / path).read_text()
        if path.endswith(".md"):
            return text
        try:
            language = get_lexer_for_filename(path).aliases[0]
        except ClassNotFound:
            language = "sh" if text.startswith("#!") else "text"
        return f"# {path}\n\n~~~~~~~~ {language}\n{text.rstrip()}\n~~~~~~~~\n"

    def _list(self, folder: str) -> str:
        members = sorted(
            path for path in self.files | self.folders if path and posixpath.dirname(path) == folder
        )
        names = (f"{posixpath.basename(path)}" for path in members if not path.endswith("/README.md"))
        title = "" if f"{folder}/README.md" in self.files else f"# {folder}/\n\n"
        return title + "".join(f"- [{name}]({name})\n" for name in names) + "\n"


def _ancestors(path: str) -> list[str]:
    return [path, *_ancestors(posixpath.dirname(path))] if path else []


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Add the files that pages link to, those that they link to in turn, and the icon of auth_app's pages.

    Remove the files of docs/ that git does not track.
    """
    repository = Repository()
    config.extra["repository"] = repository
    for file in list(files):
        source = Path(file.abs_src_path or "")
        if (
            source.is_relative_to(ROOT / "docs")
            and source.relative_to(ROOT).as_posix() not in repository.files
        ):
            files.remove(file)
    linked = set(DOCUMENTS)
    for page in files.documentation_pages():
        repository.rebase(page.content_string, page.src_uri, linked)
    done: set[str] = set()
    while todo := {path for path in linked if not path.startswith("docs/")} - done:
        done |= todo
        for path in todo:
            page_uri = repository.page_of(path)
            if page_uri.endswith(".md"):
                text = repository.text_of(path)
                repository.rebase(text, page_uri, linked)
                if not files.get_file_from_path(page_uri):
                    files.append(_generate(config, page_uri, content=text))
            else:
                files.append(_generate(config, page_uri, abs_src_path=str(ROOT / path)))
    icon = ROOT / "auth_app/pages/static/icon.svg"
    files.append(_generate(config, "images/icon.svg", abs_src_path=str(icon)))
    return files


def _generate(config: MkDocsConfig, page: str, **source: Any) -> File:
    return File.generated(config, page, inclusion=InclusionLevel.NOT_IN_NAV, **source)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Adapt a page. The search finds no source code."""
    repository: Repository = config.extra["repository"]
    uri = page.file.src_uri
    if uri.startswith(f"{FOLDER}/") and repository.sources.get(uri) not in DOCUMENTS:
        page.meta |= {"search": {"exclude": True}, "hide": ["toc"]}
    return adapt_lists(repository.rebase(markdown, uri))
