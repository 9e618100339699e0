"""The server's log: one JSON object a line on standard error."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

_LOGGERS = ("akidb", "uvicorn.error")


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, then the `fields` that the caller gave."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


@contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Log at this level and above while the server runs; of uvicorn, warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    before = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _, _ in before:
        logger.addHandler(handler)
        logger.propagate = False
    logging.getLogger("akidb").setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, previous, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(previous)
            logger.propagate = propagate
