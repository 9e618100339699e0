"""Query parameters: unknown names are rejected, and only lists may be repeated."""

from typing import Any
from urllib.parse import parse_qsl

from akidb.domain.errors import InvalidArgument
from akidb.operations.declare import Request
from akidb.operations.text import parsers

MAX_PARAMETERS = 64


def read(query: bytes, request: type[Request[Any]] | None, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parse the request fields in `names` from a query string.

    A list parameter may be repeated, and its values separated by commas. Raises InvalidArgument with the name
    of an unknown or repeated parameter.
    """
    values: dict[str, Any] = {}
    if not query:
        return values
    for name, text in _pairs(query):
        if request is None or name not in names:
            raise InvalidArgument(name or "query", "unknown query parameter")
        value = parsers(request)[name](text, name)
        if isinstance(value, list):
            values[name] = [*values.get(name, []), *value]
        elif name in values:
            raise InvalidArgument(name, "must not be repeated")
        else:
            values[name] = value
    return values


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeError:
        raise InvalidArgument("query", "must be percent-encoded UTF-8") from None
    except ValueError:
        raise InvalidArgument("query", f"must be 1-{MAX_PARAMETERS} name=value pairs joined by &") from None
