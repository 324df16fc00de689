"""Write gunicorn's own log lines as JSON, and never what its parser quotes of a request."""

import logging
from typing import Any

from gunicorn.glogging import Logger as _GunicornLogger
from gunicorn.http.errors import NoMoreData, ParseException

from shared.logs import JsonFormatter

# Their texts quote the bytes that the parser was given: a request line, a header, a body.
_QUOTING = (ParseException, NoMoreData)


class Logger(_GunicornLogger):
    """gunicorn's logger with our format; levels and destinations are set by gunicorn's own options."""

    def setup(self, cfg: Any) -> None:
        """Set up the loggers, at the start and at each reload."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.addFilter(_name_exceptions)  # one that is there already is not added again
            for handler in log.handlers:
                handler.setFormatter(JsonFormatter())


def _name_exceptions(record: logging.LogRecord) -> bool:
    """Put the type in the place of each exception that quotes a request."""
    if isinstance(record.args, tuple):
        record.args = tuple(type(arg).__name__ if isinstance(arg, _QUOTING) else arg for arg in record.args)
    if record.exc_info and isinstance(record.exc_info[1], _QUOTING):
        record.msg = f"{record.msg}: {type(record.exc_info[1]).__name__}"
        record.exc_info = None
    return True
