"""Read the bit of a session from the published status list."""

import zlib

from flask.testing import FlaskClient

from flask_resource_server.tokens.jws import decode_base64url
from tests.conftest import read_claims
from tests.forger import ISSUER


def is_set(auth: FlaskClient, uri: str, index: int) -> bool:
    """Return whether the published list marks the session at an index as revoked."""
    response = auth.get(uri.removeprefix(ISSUER))
    assert response.status_code == 200
    bits = zlib.decompress(decode_base64url(read_claims(response.text)["status_list"]["lst"]))
    return bool(bits[index >> 3] >> (index & 7) & 1)
