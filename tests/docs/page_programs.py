"""Extract the programs of a page, and serve them in this process next to a running pair of services."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import ModuleType

from flask import Flask
from werkzeug.serving import make_server

from tests.servers import ROOT, Pair


class Programs:
    """The code blocks of a page."""

    def __init__(self, path: str) -> None:
        self.text = (ROOT / path).read_text()
        self.files = dict(re.findall(r'```\w+ title="([\w.-]+)"\n(.*?)```', self.text, re.DOTALL))

    def find_block(self, language: str, text: str) -> str:
        """Return the only block without a title that contains a text."""
        blocks = re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)
        (found,) = [block for block in blocks if text in block]
        return str(found)


def adapt(program: str, pair: Pair) -> str:
    """Replace the documented addresses with those of the running services."""
    text = program.replace("http://127.0.0.1:8081", pair.auth.url)
    return text.replace("http://127.0.0.1:8082", pair.course.url)


def load(program: str, name: str = "documented") -> ModuleType:
    """Run a program, and return what it defines."""
    module = ModuleType(name)
    exec(compile(program, name, "exec"), vars(module))  # noqa: S102
    return module


@contextmanager
def serve_here(app: Flask, port: int = 0) -> Iterator[str]:
    """Serve an application in this process until the block ends, and yield its URL."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
