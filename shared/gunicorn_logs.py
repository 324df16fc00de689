"""Write gunicorn's own log lines as JSON, without the parts of requests that its errors quote."""

import logging
from typing import Any

from gunicorn.glogging import Logger as _GunicornLogger
from gunicorn.http.errors import NoMoreData, ParseException

from shared.logs import JsonFormatter

# The messages of these quote bytes of the request: the request line, a header or the body.
_QUOTING = (ParseException, NoMoreData)


class Logger(_GunicornLogger):
    """gunicorn's logger with our format. gunicorn's own options set levels and destinations."""

    def setup(self, cfg: Any) -> None:
        """Set up the loggers; called at the start and at each reload."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.addFilter(_name_exceptions)  # adding it a second time has no effect
            for handler in log.handlers:
                handler.setFormatter(JsonFormatter())


def _name_exceptions(record: logging.LogRecord) -> bool:
    """Replace each exception that quotes a request by the name of its type."""
    if isinstance(record.args, tuple):
        record.args = tuple(type(arg).__name__ if isinstance(arg, _QUOTING) else arg for arg in record.args)
    if record.exc_info and isinstance(record.exc_info[1], _QUOTING):
        record.msg = f"{record.msg}: {type(record.exc_info[1]).__name__}"
        record.exc_info = None
    return True
