"""A service of the kit whose view answers from memory: what verification costs, and nothing else."""

from typing import Any

from flask_jwt_extended import jwt_required

from bench.answer import ANSWER
from flask_resource_server.scopes import require_scope
from shared.resource_server import create_resource_server

app = create_resource_server(__name__)


@app.get("/memory")
@jwt_required()
@require_scope("courses:read")
def read() -> dict[str, Any]:
    """Answer from memory."""
    return ANSWER
