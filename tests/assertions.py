"""Sign client assertions (`private_key_jwt`): good ones by default, bad ones by changing a claim."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from auth_app.oauth.client_assertions import ASSERTION_TYPE
from flask_resource_server.tokens.keys import public_jwk
from tests.conftest import run_command
from tests.forger import ISSUER, Forger


def add_signing_client(auth: FlaskClient, forger: Forger, folder: Path, *options: str) -> None:
    """Register the client `signer` with the public key of the forger."""
    file = folder / "jwks.json"
    file.write_text(json.dumps(jwks_of(forger)))
    result = run_command(auth, "clients", "add", "signer", "--jwks", str(file), *options)
    assert result.exit_code == 0, result.output


def jwks_of(forger: Forger) -> dict[str, Any]:
    return {"keys": [{"kid": forger.kid, **public_jwk(forger.key.public_key())}]}


def sign_assertion(forger: Forger, header: dict[str, Any] | None = None, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "signer",
        "sub": "signer",
        "aud": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": str(uuid.uuid4()),
        **changes,
    }
    given = {name: value for name, value in claims.items() if value is not None}
    return forger.sign_payload(json.dumps(given).encode(), {"typ": "JWT", **(header or {})})


def assertion_form(forger: Forger, header: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    assertion = sign_assertion(forger, header, **changes)
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
