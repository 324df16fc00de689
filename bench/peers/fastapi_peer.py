"""FastAPI with PyJWT: views without a database, one in a thread and one on the event loop."""

from typing import Any

from fastapi import FastAPI

from bench.answer import ANSWER
from bench.peers.fastapi_token import CurrentUser, CurrentUserAsync

app = FastAPI()


@app.get("/memory")
def read(_user: CurrentUser) -> dict[str, Any]:
    """Return the page from memory, in a thread."""
    return ANSWER


@app.get("/memory-async")
async def read_async(_user: CurrentUserAsync) -> dict[str, Any]:
    """Return the page from memory, on the event loop."""
    return ANSWER
