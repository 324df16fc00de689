"""Flask with flask-jwt-extended as documented: PEM strings for keys, and default settings."""

import os
from typing import Any

from flask import Flask, jsonify
from flask.wrappers import Response
from flask_jwt_extended import JWTManager, create_access_token, jwt_required

from bench.answer import ANSWER

app = Flask(__name__)
app.config["JWT_ALGORITHM"] = "RS256"
app.config["JWT_PRIVATE_KEY"] = os.environ["BENCH_PRIVATE_KEY"]
app.config["JWT_PUBLIC_KEY"] = os.environ["BENCH_PUBLIC_KEY"]
jwt = JWTManager(app)


@app.get("/memory")
@jwt_required()
def read() -> dict[str, Any]:
    """Return the page from memory."""
    return ANSWER


@app.post("/token")
def create_token() -> Response:
    """Sign a token for a user without a login."""
    return jsonify(access_token=create_access_token(identity="someone"))
