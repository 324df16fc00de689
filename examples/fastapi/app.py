"""A FastAPI service that accepts access tokens: `flask_resource_server.tokens` needs no Flask application."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from flask_resource_server.tokens import Issuer, RefusedToken, Undetermined, VerifiedClaims, Verifier

app = FastAPI()
bearer = HTTPBearer(auto_error=False)
verifier = Verifier.trusting(Issuer(os.environ["OAUTH_ISSUER"]), resource=os.environ["OAUTH_RESOURCE"])


# Not `async`, so that FastAPI calls it in a thread: the first call waits until the issuer's keys are fetched.
def get_claims(
    required: SecurityScopes, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> VerifiedClaims:
    """Return the claims of the request's access token. Raises `HTTPException`: 401, 403 or 503."""
    if credentials is None:
        raise refuse(401, "Send an access token.")
    try:
        claims = verifier.verify(credentials.credentials)
    except RefusedToken:
        raise refuse(401, "The access token is not accepted.", 'error="invalid_token"') from None
    except Undetermined:  # the token may be good: a 401 would make the client discard it
        raise HTTPException(503, "Tokens cannot be verified now.", {"Retry-After": "1"}) from None
    if not claims.scopes.issuperset(required.scopes):
        missing = f'error="insufficient_scope", scope="{required.scope_str}"'
        raise refuse(403, "The access token lacks a scope.", missing)
    return claims


def refuse(status: int, detail: str, challenge: str = "") -> HTTPException:
    """Return an error with a Bearer challenge (RFC 6750 section 3)."""
    return HTTPException(status, detail, {"WWW-Authenticate": f"Bearer {challenge}".strip()})


@app.get("/reports")
def list_reports(
    claims: Annotated[VerifiedClaims, Security(get_claims, scopes=["courses:read"])],
) -> dict[str, object]:
    """Return the reports."""
    return {"reports": [], "reader": claims.subject}
