"""A Flask view without any authentication: the upper limit."""

from typing import Any

from flask import Flask

from bench.answer import ANSWER

app = Flask(__name__)


@app.get("/memory")
def read() -> dict[str, Any]:
    """Return the page from memory."""
    return ANSWER
