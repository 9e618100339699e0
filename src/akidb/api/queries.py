"""Query parameters as a Struct: each known, once, and of its type to the letter."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict, text_fault

MAX_PARAMETERS = 64
T = TypeVar("T", bound=msgspec.Struct)

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?", re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)


def read(query: bytes, shape: type[T]) -> T:
    """Read a query string into `shape`.

    A parameter that is a list may be repeated, and its values separated by commas. Raises
    InvalidArgument naming the parameter that is unknown, repeated or wrong.
    """
    if not query:
        return shape()
    readers = _readers(shape)
    values: dict[str, Any] = {}
    for name, text in _pairs(query):
        reader = readers.get(name)
        if reader is None:
            raise InvalidArgument(name or "query", "unknown query parameter")
        if reader is _list:
            values[name] = [*values.get(name, []), *_list(name, text)]
        elif name in values:
            raise InvalidArgument(name, "must not be repeated")
        else:
            values[name] = reader(name, text)
    # The same rules and words as for a body: members of enumerations, bounds, paths.
    return decode_strict(msgspec.json.encode(values), shape)


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
        raise InvalidArgument("query", f"must be up to {MAX_PARAMETERS} of name=value, joined by &") from None


@cache
def _readers(shape: type[msgspec.Struct]) -> Mapping[str, Callable[[str, str], Any]]:
    return {name: _READERS.get(_base(hint), _text) for name, hint in get_type_hints(shape).items()}


def _base(hint: Any) -> Any:
    """The type of a parameter's value: `int` of `int | None`, `list` of `list[Include]`."""
    if get_origin(hint) in {Union, UnionType}:
        (hint,) = (option for option in get_args(hint) if option is not NoneType)
    return get_origin(hint) or hint


def _text(name: str, text: str) -> str:
    if fault := text_fault(text):
        raise InvalidArgument(name, fault)
    return text


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InvalidArgument(name, "must be a whole number")
    return int(text)


def _number(name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise InvalidArgument(name, "must be a number")
    return float(text)


def _boolean(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise InvalidArgument(name, "must be true or false")
    return text == "true"


def _list(_: str, text: str) -> list[str]:
    return text.split(",") if text else []


_READERS: Mapping[Any, Callable[[str, str], Any]] = {
    int: _integer,
    float: _number,
    bool: _boolean,
    list: _list,
}
