"""Verify a token in a FastAPI dependency, as FastAPI's documentation shows, with PyJWT."""

from typing import Annotated

import jwt
from fastapi import Depends, HTTPException
from fastapi.security import OAuth2PasswordBearer

from bench.peers.keys import AUDIENCE, PUBLIC_KEY

oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


def get_current_user(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    """Return the subject of a good token."""
    try:
        payload = jwt.decode(token, PUBLIC_KEY, algorithms=["RS256"], audience=AUDIENCE)
    except jwt.InvalidTokenError:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None
    subject: str = payload["sub"]
    return subject


async def get_current_user_async(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    """Return the subject of a good token, on the event loop."""
    return get_current_user(token)


CurrentUser = Annotated[str, Depends(get_current_user)]
CurrentUserAsync = Annotated[str, Depends(get_current_user_async)]
