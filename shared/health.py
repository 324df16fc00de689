"""Serve the health check `/healthz` and the readiness check `/readyz`."""

from collections.abc import Callable, Mapping

from flask import Flask, current_app
from werkzeug.exceptions import ServiceUnavailable

from flask_resource_server.exceptions import ConfigurationError, Degraded, Undetermined
from shared.errors import ApiError

# Readiness checks by name. A check raises if the service cannot serve, and `Degraded` if it can but needs its
# operator. If it returns a dictionary, the response includes it.
Checks = Mapping[str, Callable[[], object]]

_EXPECTED = (ApiError, ConfigurationError, Undetermined)  # their messages are enough; others get a traceback


def init_app(app: Flask, checks: Checks) -> None:
    """Serve `/healthz`, which responds while the process works, and `/readyz`, which runs `checks`."""

    def show_health() -> dict[str, str]:
        return {"status": "ok"}

    def show_readiness() -> dict[str, object]:
        degraded, details = [], dict[str, object]()
        for name, check in checks.items():
            try:
                result = check()
                details.update(result if isinstance(result, dict) else {})
            except Degraded as error:
                degraded.append(name)
                details.update(error.details)
            except _EXPECTED as error:
                current_app.logger.error("not ready: %s: %s", name, error)  # noqa: TRY400
                raise ServiceUnavailable(retry_after=1) from error
            except Exception as error:
                current_app.logger.exception("not ready: %s", name)
                raise ServiceUnavailable(retry_after=1) from error
        status = {"status": "degraded", "degraded": degraded} if degraded else {"status": "ok"}
        return {**status, **details}

    app.add_url_rule("/healthz", view_func=show_health)
    app.add_url_rule("/readyz", view_func=show_readiness)
