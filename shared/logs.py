"""Write the log as lines of JSON on standard error, each with the ID of the request that it is about."""

import json
import logging
import time
from typing import TextIO, cast

from flask.logging import wsgi_errors_stream

from shared.request_id import current_request_id


def init_logs() -> None:
    """Write what no handler takes care of yet: whoever has set up logging keeps what they have."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(cast("TextIO", wsgi_errors_stream))
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)


def format_time(seconds: float) -> str:
    """Spell a time as RFC 3339 does, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; one that is JSON already (`is_json`) stays as it is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
