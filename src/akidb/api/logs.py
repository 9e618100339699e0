"""The server's log on standard error: text, or one JSON object per line.

It contains IDs, codes and numbers, never tenants' data or names. Exception messages may quote those, so they
are logged only at level `debug`; at other levels, an exception is logged as its type and traceback.
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

from akidb.domain.errors import AkiDBError
from akidb.observe.logs import logger

_logger = logger("akidb.api")
_LOGGERS = {"akidb": None, "uvicorn.error": logging.WARNING, "opentelemetry": logging.WARNING}
"""The logged loggers and their minimum levels; None: the configured level."""

_IDS = ("request_id", "tenant_id", "trace_id")


class _Formatter(logging.Formatter):
    def __init__(self, *, messages: bool) -> None:
        """With `messages`, include exception messages."""
        super().__init__()
        self._messages = messages

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the fields of a record, in output order; unknown IDs are omitted."""
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
    """Formats a record as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = self.fields(record)
        try:
            return msgspec.json.encode(fields).decode()
        except UnicodeEncodeError:  # the path of a directory need not be UTF-8
            return json.dumps(fields)


class TextFormatter(_Formatter):
    """Time, level, logger and message, then `name=value` pairs; an exception follows on separate lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, or more with an exception."""
        line = self.fields(record)
        head = f"{line.pop('timestamp')} {line.pop('level').upper()} {line.pop('logger')}"
        message, exception = line.pop("message"), line.pop("exception", None)
        rest = [f"{name}={_word(value)}" for name, value in line.items() if value is not None]
        text = " ".join([head, message.replace("\n", "\\n"), *rest])
        return text if exception is None else f"{text}\n{exception}"


def _word(value: object) -> str:
    """Quote a value that contains spaces or line breaks."""
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


def log_failure(error: AkiDBError) -> None:
    """Log why a server could not start, or ended, as a JSON object on standard error."""
    with logging_to_stderr("error", "json"):
        _logger.error(error.message, extra={"fields": {"code": error.code}})


@contextmanager
def logging_to_stderr(level: str, form: str = "text") -> Iterator[None]:
    """Log at this level and above while the server runs, as `text` or `json`.

    Third-party libraries log warnings and errors only.
    """
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if form == "json" else TextFormatter
    handler.setFormatter(kind(messages=level == "debug"))
    before = [(each, each.level, each.propagate) for each in map(logging.getLogger, _LOGGERS)]
    for each, _, _ in before:
        each.addHandler(handler)
        each.propagate = False
        each.setLevel(_LOGGERS[each.name] or level.upper())
    try:
        yield
    finally:
        for each, previous, propagate in before:
            each.removeHandler(handler)
            each.setLevel(previous)
            each.propagate = propagate
