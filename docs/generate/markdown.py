"""Adapt GitHub's Markdown to Python-Markdown, which MkDocs uses, so that pages look alike in both."""

import re
from collections.abc import Callable, Iterator

_FENCE = re.compile(r" *(`{3,}|~{3,})")
_ITEM = re.compile(r" *(?:([-*+])|(\d+)\.) +(?=\S)")
_TARGET = re.compile(r"""(?<=\]\()([^)\s#]+)|(?<=\bsrc=")([^"]+)""")


def split_code(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is inside a fenced code block or ends one."""
    fence = ""
    for line in markdown.split("\n"):
        match = _FENCE.match(line)
        yield line, bool(fence)
        if not fence:
            fence = match[1] if match else ""
        elif match and match[1].startswith(fence) and not line.strip("`~ "):
            fence = ""


def replace_targets(markdown: str, replace: Callable[[str, bool], str]) -> str:
    """Return Markdown with the target of each link and image, but not its fragment, replaced.

    `replace` is called with the target, and whether it is that of an HTML element.
    """

    def substitute(match: re.Match[str]) -> str:
        return replace(match[0], match[1] is None)

    return "\n".join(
        line if is_code else _TARGET.sub(substitute, line) for line, is_code in split_code(markdown)
    )


def adapt_lists(markdown: str) -> str:
    """Indent the content of list items by four spaces a level, and put an empty line before each list.

    CommonMark, which GitHub renders, needs neither: content is indented as far as the text of its item.
    """
    lines: list[str] = []
    columns: list[int] = []  # where the texts of the enclosing items begin
    for line, is_code in split_code(markdown):
        indent = len(line) - len(line.lstrip(" "))
        item = None if is_code else _ITEM.match(line)
        is_after_text = bool(lines and lines[-1])
        if item and is_after_text and not columns and not (item[1] or item[2] == "1"):
            item = None  # a number at the beginning of a line of text
        if not is_code and line and (item or not is_after_text or _FENCE.match(line) or line.startswith("#")):
            if item and is_after_text and not columns:
                lines.append("")
            columns = [column for column in columns if column <= indent]
        left = min(columns[-1], indent) if columns else 0
        text = line.lstrip(" ") if item else line[left:]
        lines.append(" " * 4 * len(columns) + text if text else "")
        if item:
            columns.append(item.end())
    return "\n".join(lines)
