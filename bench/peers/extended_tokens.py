"""flask-jwt-extended in its best form: as documented, with key objects instead of PEM strings.

Nothing is stored: a refresh token is a JWT that can be used again and again until it expires.
"""

import os

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from flask import Flask, jsonify
from flask.wrappers import Response
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt_identity,
    jwt_required,
)

app = Flask(__name__)
app.config["JWT_ALGORITHM"] = "RS256"
app.config["JWT_PRIVATE_KEY"] = load_pem_private_key(os.environ["BENCH_PRIVATE_KEY"].encode(), None)
app.config["JWT_PUBLIC_KEY"] = load_pem_public_key(os.environ["BENCH_PUBLIC_KEY"].encode())
jwt = JWTManager(app)


@app.post("/login")
def log_in() -> Response:
    """Sign two tokens for a user without a login."""
    return jsonify(
        access_token=create_access_token(identity="someone"),
        refresh_token=create_refresh_token(identity="someone"),
    )


@app.post("/token")
def create_token() -> Response:
    """Sign an access token for a user without a login."""
    return jsonify(access_token=create_access_token(identity="someone"))


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    """Sign the next access token."""
    return jsonify(access_token=create_access_token(identity=get_jwt_identity()))
