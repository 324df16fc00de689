"""The Flask extension `ResourceServer`: accept access tokens, and run a service's own check on claims."""

import copy
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from flask import Flask

from flask_resource_server import authentication, explain_token, jwt_extended, protected_resource
from flask_resource_server.problem_log import ProblemLog
from flask_resource_server.settings import read_settings
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.verifier import Verifier

_logger = logging.getLogger(__name__)

CheckClaims = Callable[[VerifiedClaims], Awaitable[None] | None]
CurrentScopes = Callable[[VerifiedClaims], frozenset[str]]


class ResourceServer:
    """Protects the views of an application with the access tokens of an authorization server.

    Call `ResourceServer(app)`, or `init_app(app)` in an application factory. Settings are keyword arguments,
    or values in `app.config` under `config_prefix`: see docs/reference/kit.md.

    `check_claims` is the service's own check. It is called with the claims of a token that passed all other
    checks, and raises `InvalidToken` (401), `Forbidden` or `InsufficientScope` (403), or returns None. It may
    be an `async def` function. `current_scopes` returns the scopes that the token's holder has now, for a
    service that knows; by default, the scopes in the token count.

    Nothing is fetched or read, and no thread starts, before the first request that needs it. Raises
    `ConfigurationError`.
    """

    verifier: Verifier
    resource: str
    metadata_url: str

    def __init__(
        self,
        app: Flask | None = None,
        *,
        check_claims: CheckClaims | None = None,
        current_scopes: CurrentScopes | None = None,
        config_prefix: str = "OAUTH_",
        **settings: Any,
    ) -> None:
        self.check_claims: CheckClaims = check_claims or (lambda _claims: None)
        self.current_scopes: CurrentScopes = current_scopes or (lambda claims: claims.scopes)
        self._prefix = config_prefix
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> "ResourceServer":
        """Make `app` a resource server, and return the extension object for it.

        That is this object for the first application, and a copy for each further one that a factory creates.
        Raises `ConfigurationError`, or `RuntimeError` if it was already called for this application.
        """
        settings = read_settings(app, self._prefix, self._settings)
        verifier = Verifier.trusting(*settings.issuers, resource=settings.resource)
        return self.protect(app, verifier, settings.resource)

    def protect(self, app: Flask, verifier: Verifier, resource: str) -> "ResourceServer":
        """Do the same as `init_app`, but with the given verifier and resource instead of settings."""
        if "flask_resource_server" in app.extensions:
            raise RuntimeError("this application is a resource server already: call init_app once")
        if hasattr(self, "verifier"):
            further = copy.copy(self)
            del further.verifier
            return further.protect(app, verifier, resource)
        self._problems = ProblemLog()
        self.verifier, self.resource = verifier, resource
        # An `async def` function that is not awaited would never refuse a token.
        self.check_claims = app.ensure_sync(self.check_claims)
        self.current_scopes = app.ensure_sync(self.current_scopes)
        app.extensions["flask_resource_server"] = self
        app.after_request(authentication.complete_response)
        if not jwt_extended.is_taken(app):
            jwt_extended.init_app(app)
        issuers = [issuer.url for issuer in verifier.issuers]
        self.metadata_url = protected_resource.init_app(app, issuers=issuers, resource=resource)
        explain_token.init_app(app, self)
        return self

    @property
    def checks(self) -> dict[str, Callable[[], object]]:
        """Return the functions that a readiness check should call, by name.

        Each raises `Undetermined` or `ConfigurationError` while tokens cannot be verified, and `Degraded`
        while only an older state of keys or lists is known: that needs an operator, but no restart.
        """
        return _of_all(self.verifier, "checks")

    @property
    def ages(self) -> dict[str, Callable[[], float | None]]:
        """Return functions for metrics, by name: each returns a document's age in seconds, or None."""
        return _of_all(self.verifier, "ages")

    def log_problem(self, problem: str) -> None:
        """Log why tokens cannot be verified, each problem at most once a minute."""
        if self._problems.is_due(problem):
            _logger.error("tokens cannot be verified: %s", problem)

    def check_startup(self) -> None:
        """Raise `ConfigurationError` if a key file is missing or unusable. Fetches nothing, starts no thread.

        For servers that can refuse to start. Without this check, requests get 503 until the file is fixed.
        """
        for issuer in self.verifier.issuers:
            issuer.check_startup()


def _of_all(verifier: Verifier, member: str) -> dict[str, Callable[[], Any]]:
    """Return a mapping of all issuers; with several, the name `keys` becomes `keys of https://...`."""
    if len(verifier.issuers) == 1:
        return dict(getattr(verifier.issuers[0], member))
    return {
        f"{name} of {issuer.url}": function
        for issuer in verifier.issuers
        for name, function in getattr(issuer, member).items()
    }
