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
    """Lets the views of an application accept the access tokens of an authorization server.

    `ResourceServer(app)`, or `init_app(app)` in a factory. Settings are keyword arguments, or stand in
    `app.config` under `config_prefix`: see docs/reference/kit.md.

    `check_claims` is the service's own check on a token that is good in every other respect: it raises
    `InvalidToken` (401), `Forbidden` or `InsufficientScope` (403), and otherwise returns None. It may be an
    `async def` function. `current_scopes` says which scopes count, for a service that knows what the token's
    holder may do by now; without it, those that were granted.

    Nothing is fetched, read or started before the first request that needs it. Raises `ConfigurationError`.
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
        """Make `app` a resource server, and return the object that serves it.

        That is this one for the first application, and a copy for each further one that a factory makes.
        Raises `ConfigurationError`, and `RuntimeError` the second time for the same application.
        """
        settings = read_settings(app, self._prefix, self._settings)
        verifier = Verifier.trusting(*settings.issuers, resource=settings.resource)
        return self.protect(app, verifier, settings.resource)

    def protect(self, app: Flask, verifier: Verifier, resource: str) -> "ResourceServer":
        """Do what `init_app` does, with a verifier of the application's own instead of settings."""
        if "flask_resource_server" in app.extensions:
            raise RuntimeError("this application is a resource server already: call init_app once")
        if hasattr(self, "verifier"):
            further = copy.copy(self)
            del further.verifier
            return further.protect(app, verifier, resource)
        self._problems = ProblemLog()
        self.verifier, self.resource = verifier, resource
        # An `async def` that nobody awaits would refuse nothing.
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
        """Return what a readiness check should call, by name.

        Each raises `Undetermined` or `ConfigurationError` while tokens cannot be verified, and `Degraded`
        while only an older state is known, which needs an operator but not a restart.
        """
        return _of_all(self.verifier, "checks")

    @property
    def ages(self) -> dict[str, Callable[[], float | None]]:
        """Return by name what tells the seconds since a fetched document was current, for metrics."""
        return _of_all(self.verifier, "ages")

    def log_problem(self, problem: str) -> None:
        """Log why a token cannot be verified, each problem at most once a minute."""
        if self._problems.is_due(problem):
            _logger.error("tokens cannot be verified: %s", problem)

    def check_startup(self) -> None:
        """Raise `ConfigurationError` if a key file is missing or unfit. Fetches nothing, starts no thread.

        For servers that can refuse to start; otherwise requests are answered 503 until it is fixed.
        """
        for issuer in self.verifier.issuers:
            issuer.check_startup()


def _of_all(verifier: Verifier, member: str) -> dict[str, Callable[[], Any]]:
    """Return a member of every issuer by name: `keys`, or of one among several `keys of https://...`."""
    if len(verifier.issuers) == 1:
        return dict(getattr(verifier.issuers[0], member))
    return {
        f"{name} of {issuer.url}": function
        for issuer in verifier.issuers
        for name, function in getattr(issuer, member).items()
    }
