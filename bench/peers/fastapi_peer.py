"""FastAPI with PyJWT as their documentation has it: a dependency decodes the token with a PEM string."""

import os
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer

from bench.answer import ANSWER

app = FastAPI()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
PUBLIC_KEY = os.environ["BENCH_PUBLIC_KEY"]
AUDIENCE = os.environ["RESOURCE"]


def get_current_user(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    """Return the subject of a good token."""
    try:
        payload = jwt.decode(token, PUBLIC_KEY, algorithms=["RS256"], audience=AUDIENCE)
    except jwt.InvalidTokenError:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None
    subject: str = payload["sub"]
    return subject


async def get_current_user_async(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    """Do the same on the event loop."""
    return get_current_user(token)


@app.get("/memory")
def read(_user: Annotated[str, Depends(get_current_user)]) -> dict[str, Any]:
    """Answer from memory, in a thread."""
    return ANSWER


@app.get("/memory-async")
async def read_async(_user: Annotated[str, Depends(get_current_user_async)]) -> dict[str, Any]:
    """Answer from memory, on the event loop."""
    return ANSWER
