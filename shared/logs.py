"""Write log records as JSON lines to standard error, each with the ID of its request."""

import json
import logging
import time
from typing import TextIO, cast

from flask.logging import wsgi_errors_stream

from shared.request_id import current_request_id


def init_logs() -> None:
    """Add a JSON handler to the root logger, unless logging has already been configured."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(cast("TextIO", wsgi_errors_stream))
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)


def format_time(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339 does, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON. The message of a record with `is_json` is such a line already."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        if getattr(record, "is_json", False):
            return record.getMessage()
        line = {
            "time": format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": current_request_id(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
