"""Fills the rows of `docs/limits.md`, in `limits_table.txt`, with the values of the code.

A placeholder such as `{domain.documents.MAX_ID_BYTES:bytes}` is a value of the code, in the named unit: a
constant of a module below `akidb`, the default of a field or an argument, or a keyword in the JSON schema of
a field. A test requires a placeholder for every limit, or a reason.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

_ROWS = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
_PLACEHOLDER = re.compile(r"\{([\w.]+)(?::(\w+))?\}")
_BYTE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    head, *rows = _ROWS.splitlines()
    yield f"| {head} |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield f"| {filled(row)} |"


def named() -> set[str]:
    """Return the paths of all values in the table."""
    return {path for path, _ in _PLACEHOLDER.findall(_ROWS)}


def filled(text: str) -> str:
    """Return a text with values for its placeholders."""
    return _PLACEHOLDER.sub(lambda found: written(value_of(found[1]), found[2]), text)


def value_of(path: str) -> Any:
    """Return the value at a path below `akidb`. Raises LookupError if there is none."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["akidb", *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = _member(found, name)
        return found
    raise LookupError(path)


def _member(found: Any, name: str) -> Any:
    if isinstance(found, ModuleType):
        return getattr(found, name)
    if hasattr(found, "__metadata__"):
        return found.__metadata__[0].extra_json_schema[name]
    if isinstance(found, type) and issubclass(found, msgspec.Struct):
        return next(field.default for field in msgspec.structs.fields(found) if field.name == name)
    if callable(found):
        return inspect.signature(found).parameters[name].default
    return getattr(found, name)


def written(value: Any, unit: str | None = None) -> str:
    """Return a value as it is shown: `512 bytes`, `1 MiB`, `7 days`, `10,000`."""
    match unit:
        case "bytes":
            return _bytes(value)
        case "seconds":
            return _seconds(value.total_seconds() if hasattr(value, "total_seconds") else value)
        case "float":
            return f"{value:g}"
    return ", ".join(map(str, value.values())) if isinstance(value, dict) else f"{value:,}"


def _bytes(value: int) -> str:
    unit = 0
    while value >= 1024 and value % 1024 == 0 and unit + 1 < len(_BYTE_UNITS):
        value, unit = value // 1024, unit + 1
    return f"{value:,} {_BYTE_UNITS[unit]}"


def _seconds(value: float) -> str:
    for name, seconds in (("days", 86_400), ("hours", 3600)):
        if value >= 2 * seconds and value % seconds == 0:
            return f"{value / seconds:g} {name}"
    return f"{value:g} s"
