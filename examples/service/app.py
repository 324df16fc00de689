"""A Flask service that accepts access tokens. Only the owner of a report may change it."""

from collections.abc import Mapping
from typing import Any

from flask import Flask, abort, request

from flask_resource_server import Forbidden, ResourceServer, current_subject, require_scope


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the service. Settings come from FLASK_OAUTH_ISSUER and FLASK_OAUTH_RESOURCE, or `config`."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    ResourceServer(app)
    reports: dict[int, dict[str, Any]] = {}  # use a database instead: each worker process has its own dict

    @app.get("/reports")
    @require_scope("courses:read")
    def list_reports() -> dict[str, Any]:
        return {"reports": list(reports.values())}

    @app.post("/reports")
    @require_scope("courses:write")
    def add_report() -> tuple[dict[str, Any], int]:
        report_id = len(reports) + 1
        report = {"id": report_id, "title": read_title(), "owner": current_subject()}
        reports[report_id] = report
        return report, 201

    @app.put("/reports/<int:report_id>")
    @require_scope("courses:write")
    def change_report(report_id: int) -> dict[str, Any]:
        report = reports.get(report_id) or abort(404)
        # The scope permits changing reports. Which reports a user may change is this service's own rule.
        if report["owner"] != current_subject():
            raise Forbidden("Only the owner of a report may change it.")
        report["title"] = read_title()
        return report

    return app


def read_title() -> str:
    """Return the title in the request body. Aborts with 400 if there is none."""
    body = request.get_json()
    title = body.get("title") if isinstance(body, dict) else None
    return title if isinstance(title, str) else abort(400, 'Send {"title": "..."} as JSON.')
