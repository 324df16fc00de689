"""Flask with Authlib's ResourceProtector and its validator of RFC 9068, whose key set is fetched once."""

import json
import urllib.request
from typing import Any

from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from flask import Flask
from joserfc.jwk import KeySet

from bench.answer import ANSWER
from bench.peers.keys import AUDIENCE, ISSUER

with urllib.request.urlopen(f"{ISSUER}/.well-known/jwks.json") as published:  # noqa: S310
    KEYS = KeySet.import_key_set(json.load(published))


class Validator(JWTBearerTokenValidator):
    """Accept the tokens of our issuer."""

    def get_jwks(self) -> KeySet:
        """Return the keys, which were fetched at the start."""
        return KEYS


app = Flask(__name__)
require_oauth = ResourceProtector()
require_oauth.register_token_validator(Validator(ISSUER, AUDIENCE))


@app.get("/memory")
@require_oauth("courses:read")
def read() -> dict[str, Any]:
    """Return the page from memory."""
    return ANSWER
