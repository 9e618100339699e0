"""Parses the fields of a request from text, as in query strings and on the command line.

Text that does not look like a value of the field's type stays text, so that the field's check reports it.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Union, get_args, get_origin

from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import rules_of
from akidb.domain.json import check_object, decode_strict
from akidb.operations.declare import OPERATIONS, Request

Parser = Callable[[str, str], Any]
"""Called with the text and the field's name."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,18})?", re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,99})", re.ASCII)
_FLAGS = {"true": True, "false": False}


def _integer(text: str, _: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _number(text: str, _: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _flag(text: str, _: str) -> bool | str:
    return _FLAGS.get(text, text)


def _words(text: str, _: str) -> list[str]:
    return text.split(",") if text else []


def _text(text: str, _: str) -> str:
    return text


def json_object(text: str, field: str) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidArgument with the path of the invalid value, below `field`."""
    try:
        value = decode_strict(text.encode(errors="surrogatepass"), dict[str, Any])
    except InvalidArgument as error:
        raise InvalidArgument(below(field, error.field.removeprefix("body")), error.reason) from None
    return check_object(value, field)


def below(outer: str, inner: str) -> str:
    """Return the path of `inner` within the field `outer`."""
    return f"{outer}{'' if not inner or inner[0] in '.[' else '.'}{inner}"


_PARSERS: dict[Any, Parser] = {int: _integer, float: _number, bool: _flag, list: _words, dict: json_object}


@cache
def parsers(request: type[Request[Any]]) -> dict[str, Parser]:
    """Return a parser for each field of a request."""
    return {name: _PARSERS.get(kind, _text) for name, kind in kinds(request).items()}


@cache
def kinds(request: type[Request[Any]]) -> dict[str, Any]:
    """Return the type of each field's value in JSON: `int` of `int | None`, `list` of `list[Include]`."""
    return {name: _base(hint) for name, hint in OPERATIONS[request].hints.items()}


def _base(hint: Any) -> Any:
    rules = rules_of(hint)
    if rules is not None and rules.wire is not None:
        return get_origin(rules.wire) or rules.wire
    if hasattr(hint, "__metadata__"):
        return _base(hint.__origin__)
    if get_origin(hint) is Union or isinstance(hint, type(int | None)):
        return next(_base(member) for member in get_args(hint) if member is not type(None))
    return get_origin(hint) or hint
