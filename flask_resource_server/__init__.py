"""Protect a Flask application with the access tokens of an OAuth 2.0 authorization server.

`flask_resource_server.tokens` verifies tokens without Flask: importing it imports no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Of everything in this repository. Whatever else names a version reads it here (tests/unit/test_version.py).
__version__ = "0.2.0"

if TYPE_CHECKING:
    from flask_resource_server.authentication import authenticate as authenticate
    from flask_resource_server.authentication import current_subject as current_subject
    from flask_resource_server.authentication import current_token as current_token
    from flask_resource_server.errors import Forbidden as Forbidden
    from flask_resource_server.errors import InsufficientScope as InsufficientScope
    from flask_resource_server.errors import InvalidToken as InvalidToken
    from flask_resource_server.exceptions import ConfigurationError as ConfigurationError
    from flask_resource_server.extension import ResourceServer as ResourceServer
    from flask_resource_server.scopes import current_scopes as current_scopes
    from flask_resource_server.scopes import require_scope as require_scope
    from flask_resource_server.signals import token_accepted as token_accepted
    from flask_resource_server.signals import token_refused as token_refused
    from flask_resource_server.tokens import Issuer as Issuer
    from flask_resource_server.tokens import Profile as Profile
    from flask_resource_server.tokens import VerifiedClaims as VerifiedClaims

_MODULES = {
    "authentication": ("authenticate", "current_subject", "current_token"),
    "errors": ("Forbidden", "InsufficientScope", "InvalidToken"),
    "exceptions": ("ConfigurationError",),
    "extension": ("ResourceServer",),
    "scopes": ("current_scopes", "require_scope"),
    "signals": ("token_accepted", "token_refused"),
    "tokens": ("Issuer", "Profile", "VerifiedClaims"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
