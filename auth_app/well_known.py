"""Publish what verifiers need at `/.well-known` (RFC 8615)."""

from flask import Blueprint, current_app

from shared.keys import PublicKeys, public_jwk
from shared.verification import ALGORITHM

blueprint = Blueprint("well_known", __name__, url_prefix="/.well-known")


@blueprint.get("/jwks.json")
def show_key_set() -> tuple[dict[str, object], dict[str, str]]:
    """Return the public keys as a JWK Set (RFC 7517 section 5)."""
    public_keys: PublicKeys = current_app.extensions["public_keys"]
    members = {"use": "sig", "alg": ALGORITHM}
    keys = [{"kid": kid, **members, **public_jwk(key)} for kid, key in public_keys.items()]
    return {"keys": keys}, {"Cache-Control": "public, max-age=300"}
