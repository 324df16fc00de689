"""A Flask view without any authentication: the limit."""

from typing import Any

from flask import Flask

from bench.answer import ANSWER

app = Flask(__name__)


@app.get("/memory")
def read() -> dict[str, Any]:
    """Answer from memory."""
    return ANSWER
