"""The server's log on standard error: text, or one JSON object a line.

It holds IDs, codes and figures, never what a tenant wrote or named. What an exception says may quote that, so
it is written at level `debug` alone; elsewhere an exception is its type and where it was raised.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

_LOGGERS = {"akidb": None, "uvicorn.error": logging.WARNING, "opentelemetry": logging.WARNING}
"""What is logged, and from which level on; None: the one that is set."""

_IDS = ("request_id", "tenant_id", "trace_id")


class _Formatter(logging.Formatter):
    def __init__(self, *, messages: bool) -> None:
        """With `messages` exceptions may say what they have to say."""
        super().__init__()
        self._messages = messages

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the record holds, in the order in which it is written; IDs that are not known are left out."""
        line: dict[str, Any] = {
            "timestamp": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _IDS if (value := getattr(record, name, None)) is not None}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _described(record.exc_info[1], messages=self._messages)
        return line


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return msgspec.json.encode(self.fields(record)).decode()


class TextFormatter(_Formatter):
    """Time, level, logger and message, then `name=value` of the rest; an exception on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, more for an exception."""
        line = self.fields(record)
        head = f"{line.pop('timestamp')} {line.pop('level').upper()} {line.pop('logger')}"
        message, exception = line.pop("message"), line.pop("exception", None)
        rest = [f"{name}={_word(value)}" for name, value in line.items() if value is not None]
        text = " ".join([head, message.replace("\n", "\\n"), *rest])
        return text if exception is None else f"{text}\n{exception}"


def _word(value: object) -> str:
    """A value that no space or line break tears apart."""
    text = str(value)
    return text if text and not set(text) & set(' "=\n\r') else json.dumps(text)


def _described(error: BaseException, *, messages: bool) -> str:
    if messages:
        return "".join(traceback.format_exception(error)).rstrip()
    chain: list[str] = []
    raised: BaseException | None = error
    while raised is not None:
        where = "".join(traceback.format_tb(raised.__traceback__))
        chain.append(f"{where}{type(raised).__module__}.{type(raised).__qualname__}")
        raised = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    return "\nwhich led to\n".join(reversed(chain))


@contextmanager
def logging_to_stderr(level: str, form: str = "text") -> Iterator[None]:
    """Log at this level and above while the server runs, as `text` or `json`.

    Of what the server stands on, warnings and errors.
    """
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if form == "json" else TextFormatter
    handler.setFormatter(kind(messages=level == "debug"))
    before = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _, _ in before:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(_LOGGERS[logger.name] or level.upper())
    try:
        yield
    finally:
        for logger, previous, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(previous)
            logger.propagate = propagate
