"""What every service needs that accepts access tokens: it verifies them and never signs."""

from shared.resource_server import create_resource_server, init_app
from shared.scopes import current_subject, require_scope

__all__ = ["create_resource_server", "current_subject", "init_app", "require_scope"]
