"""JSON at the boundary: which values may be stored, the canonical form, and strict decoding of bodies.

Stored text has no U+0000 and no lone surrogates, and stored numbers are finite and fit in 64 bits, because
both SQL databases refuse or corrupt everything else. Paths in errors look like
`documents[3].metadata.year`. Nothing here depends on the meaning of the values.
"""

import math
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.plain import plain

MAX_DEPTH: Final = 64
"""Maximum levels of nesting in a stored object, itself included."""
MAX_OBJECT_BYTES: Final = 1024 * 1024
"""Maximum size of a stored object in its canonical form, in bytes."""
MAX_SMALL_OBJECT_BYTES: Final = 64 * 1024
MAX_INTEGER: Final = 2**63 - 1
MIN_INTEGER: Final = -(2**63)
TOO_DEEP: Final = "is nested too deep"

_PATH_KEY_CHARACTERS = 64
_LONE_SURROGATE = "must not contain a lone surrogate"
_LONG_LIST_BYTES = 64
_SCANNED_BYTES = 2**20
"""Malformed JSON of up to this size is searched for NaN and duplicate keys, to say which it is; of any size
for lone surrogates, if it has surrogates at all."""
_MAX_INTEGER_CHARACTERS = len(str(MIN_INTEGER))
_COLON_ESCAPE = re.compile(rb"\\u003[aA]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()
_sorting_encoder = msgspec.json.Encoder(order="sorted")
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def canonical(value: object) -> bytes:
    """Return the canonical JSON of a checked value: sorted keys, no white space, UTF-8 unescaped."""
    return _sorting_encoder.encode(value)


def member_path(path: str, key: str) -> str:
    """Return the path of member `key` of the object at `path`, safe to print whatever the key contains."""
    return f"{path}.{_shown(key)}" if path else _shown(key)


def _shown(key: str) -> str:
    shown = key if len(key) <= _PATH_KEY_CHARACTERS else f"{key[:_PATH_KEY_CHARACTERS]}..."
    return shown if shown.isascii() else shown.encode("utf-8", "backslashreplace").decode()


def text_fault(text: str) -> str | None:
    """Return why a text cannot be stored, or None."""
    if "\0" in text:
        return "must not contain U+0000"
    return _LONE_SURROGATE if _has_lone_surrogate(text) else None


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def scalar_fault(value: object) -> str | None:
    """Return why a value is not null, a boolean, or a storable number or text; otherwise None."""
    kind = type(value)
    # Exact types: a subclass may not encode like its base class.
    if value is None or kind is bool:
        return None
    if type(value) is str:
        return text_fault(value)
    if type(value) is int:
        return None if MIN_INTEGER <= value <= MAX_INTEGER else "must fit in 64 bits, signed"
    if type(value) is float:
        return None if math.isfinite(value) else "must be finite"
    if kind.__module__ == "numpy":
        return f"must be a JSON value, not numpy.{kind.__name__}: convert it with .item() or .tolist()"
    return f"must be a JSON value, not {type_name(value)}"


def type_name(value: object) -> str:
    """Return the JSON name of a value's type, or its Python name if JSON has none."""
    kind = type(value)
    return _JSON_NAMES.get(kind, kind.__name__)


_JSON_NAMES: Final[dict[type, str]] = {
    NoneType: "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def check_object(value: object, field: str, most_bytes: int = MAX_OBJECT_BYTES) -> dict[str, Any]:
    """Check that `value` is a JSON object that can be stored, and return it.

    Tuples, NumPy's scalars and the like are returned as what they are in JSON. Raises InvalidArgument with
    the path of the invalid value below `field`.
    """
    checked, _ = _storable(value, field, most_bytes)
    return checked


def canonical_object(value: object, field: str) -> bytes:
    """Return the canonical JSON of an object that can be stored; raises the errors of `check_object`."""
    _, body = _storable(value, field, MAX_OBJECT_BYTES)
    return body


def _storable(value: object, field: str, most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Return an object with exact JSON types, and its canonical JSON."""
    try:
        checked = _checked(value)
    except _FaultyError:  # seldom: only then are the types looked at
        try:
            checked = _checked(plain(value))
        except _FaultyError as fault:
            raise InvalidArgument(field + "".join(reversed(fault.steps)), fault.reason) from None
    body = canonical(checked)
    if len(body) > most_bytes:
        raise InvalidArgument(field, f"must be at most {most_bytes} bytes as JSON")
    return checked, body


def _checked(value: object) -> dict[str, Any]:
    if type(value) is not dict:
        raise _FaultyError(f"must be an object, not {type_name(value)}")
    _check_dict(value, 1)
    return value


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `target` with `patch` applied (RFC 7396): objects are merged, a null removes its key."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            before = merged.get(key)
            merged[key] = merge_patch(before if isinstance(before, dict) else {}, value)
        else:
            merged[key] = value
    return merged


class _FaultyError(Exception):
    """An invalid value; each level adds its step on the way out, so that valid values need no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def _check_dict(value: dict[Any, Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _FaultyError(f"must be nested at most {MAX_DEPTH} levels deep")
    for key, item in value.items():
        if type(key) is not str:
            raise _FaultyError(f"keys must be strings, not {type_name(key)}")
        try:
            if not key.isascii() or "\0" in key:
                _check_value(key, depth)
            # The common cases of `_check_value`, without its two calls.
            kind = type(item)
            if kind is str and item.isascii():
                if "\0" not in item:
                    continue
            elif kind is bool or item is None:
                continue
            _check_value(item, depth)
        except _FaultyError as fault:
            fault.steps.append(f".{_shown(key)}")
            raise


def _check_value(value: object, depth: int) -> None:
    if type(value) is dict:
        _check_dict(value, depth + 1)
    elif type(value) is list:
        if depth >= MAX_DEPTH:
            raise _FaultyError(f"must be nested at most {MAX_DEPTH} levels deep")
        for position, item in enumerate(value):
            try:
                _check_value(item, depth + 1)
            except _FaultyError as fault:
                fault.steps.append(f"[{position}]")
                raise
    elif (reason := scalar_fault(value)) is not None:
        raise _FaultyError(reason)


def decode_strict(body: bytes | bytearray, shape: type[_T]) -> _T:
    """Decode a JSON body into `shape`, a msgspec Struct that forbids unknown fields.

    Raises InvalidArgument, whose `field` is the path of the invalid value or `body`, for malformed
    JSON, NaN and infinity, a lone surrogate, a wrong type, an unknown field and a duplicate key. Parts typed
    `Any` may still contain values that cannot be stored: `check_object` checks those.
    """
    try:
        value = _decoder(shape).decode(body)
        if _keeps_all_members(body):
            return value
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidArgument("body", "must be UTF-8") from None
    except msgspec.DecodeError as error:
        if len(body) <= _SCANNED_BYTES or has_surrogates(body):
            _refuse_faults(body)
        raise malformed(error) from None
    except RecursionError:
        raise InvalidArgument("body", TOO_DEEP) from None
    _refuse_faults(_without_number_lists(body))
    return value


def has_surrogates(body: bytes | bytearray) -> bool:
    """Return whether JSON may contain escaped surrogates, in pairs or alone; msgspec rejects lone ones."""
    return _SURROGATE_ESCAPE.search(body) is not None


def without_surrogates(body: bytes | bytearray) -> bytes:
    """Return JSON of the same length and structure with U+FFFD for each escaped surrogate."""
    return _SURROGATE_ESCAPE.sub(rb"\\ufffd", body)


def malformed(error: msgspec.DecodeError) -> InvalidArgument:
    """Return the error of a body that is not JSON."""
    detail = str(error).removeprefix("JSON is malformed: ")
    return InvalidArgument("body", f"malformed JSON: {detail[:1].lower()}{detail[1:]}")


def decode_leniently(body: bytes | bytearray) -> Any:
    """Decode JSON by its grammar alone: keys may repeat, and numbers may be of any size.

    A number that is too large becomes an integer beyond 64 bits or infinity, which `check_object` refuses.
    Raises ValueError for malformed JSON, RecursionError for JSON that is nested too deep.
    """
    import json  # it is seldom needed, and a command line starts without it

    return json.loads(body.decode(), parse_int=_integer, parse_constant=_refuse_constant)


def decode_any_number(body: bytes | bytearray) -> Any:
    """Decode JSON as strictly as `decode_strict`, but with numbers of any size, as `decode_leniently` does.

    Raises InvalidArgument for a duplicate key, otherwise as `decode_leniently`.
    """
    _refuse_faults(body)
    return decode_leniently(body)


def _decoder(shape: type[_T]) -> msgspec.json.Decoder[_T]:
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    return decoder


# Compiled when they are first needed: a command line starts without them.
_UNKNOWN_FIELD = r"(?s)Object contains unknown field `(.*)`"
_MISSING_FIELD = r"(?s)Object missing required field `(.*)`"
_AT = r"(?s)(.*) - at `(?:key in )?\$\.?(.*)`"


def _translated(message: str) -> InvalidArgument:
    """Convert msgspec's "Expected `int`, got `str` - at `$.documents[3].id`" to an InvalidArgument."""
    path = ""
    if at := re.fullmatch(_AT, message):
        message, path = at[1], at[2]
    if unknown := re.fullmatch(_UNKNOWN_FIELD, message):
        return InvalidArgument(_named(member_path(path, unknown[1])), "unknown field")
    if missing := re.fullmatch(_MISSING_FIELD, message):
        return InvalidArgument(_named(member_path(path, missing[1])), "is required")
    return InvalidArgument(_named(path), message[:1].lower() + message[1:].replace("`", ""))


def _named(path: str) -> str:
    return path if path and path[0] != "[" else f"body{path}"


def _keeps_all_members(body: bytes | bytearray) -> bool:
    """Return whether valid JSON has no duplicate key.

    msgspec silently keeps the last of two members with one key. A member has a colon, all other
    colons are in strings, so a body that lost a member has fewer colons when it is re-encoded.
    """
    if b"\\" in body and _COLON_ESCAPE.search(body):
        # Re-encoding would unescape an escaped colon and count it. Pairs of backslashes are replaced first,
        # so that the remaining matches are escaped colons.
        body = _COLON_ESCAPE.sub(b":", body.replace(b"\\\\", b"\\u005c"))
    body = _without_number_lists(body)
    return body.count(b":") == _encoder.encode(msgspec.json.decode(body)).count(b":")


def _without_number_lists(body: bytes | bytearray) -> bytes:
    """Empty the long lists that contain no string, hence no member: vectors are most of a body."""
    kept: list[bytes | bytearray] = []
    done = searched = counted = quotes = 0
    for _ in range(len(body) // _LONG_LIST_BYTES):  # an upper bound on the number of long lists
        closing = body.find(b"]", searched)
        if closing < 0:
            break
        opening = body.rfind(b"[", searched, closing)
        searched = closing + 1
        if 0 <= opening < closing - _LONG_LIST_BYTES and body.find(b'"', opening, closing) < 0:
            quotes += _count_quotes(body[counted:opening])
            counted = closing
            if quotes % 2 == 0:  # else it is inside a string, which may be a key
                kept.append(body[done : opening + 1])
                done = closing
    return b"".join([*kept, body[done:]])


def _count_quotes(piece: bytes | bytearray) -> int:
    """Count the quotes that begin or end a string, in a piece that does not split an escape."""
    if b"\\" in piece:
        piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
    return piece.count(b'"')


class _Members(list[tuple[str, Any]]):
    """An object as its members in order, duplicates included."""


class _Constant(str):
    """NaN, Infinity or -Infinity, which Python accepts and JSON does not define."""

    __slots__ = ()


def _integer(text: str) -> int:
    """Read an integer of any length in linear time; integers beyond 64 bits are not distinguished."""
    if len(text) <= _MAX_INTEGER_CHARACTERS:
        return int(text)
    return MIN_INTEGER - 1 if text[0] == "-" else MAX_INTEGER + 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_faults(body: bytes | bytearray) -> None:
    """Raise InvalidArgument for the first duplicate key, constant or lone surrogate: a slow, exact scan."""
    import json

    try:
        tree = json.loads(
            body.decode(), object_pairs_hook=_Members, parse_int=_integer, parse_constant=_Constant
        )
    except (ValueError, RecursionError):
        return  # malformed in another way, which the caller reports
    pending: list[tuple[str, Any]] = [("", tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, _Constant):
            raise InvalidArgument(_named(path), f"{node} is not a JSON number")
        if isinstance(node, str):
            if _has_lone_surrogate(node):
                raise InvalidArgument(_named(path), _LONE_SURROGATE)
            continue
        if isinstance(node, _Members):
            _refuse_faulty_keys(node, path)
            inner = [(member_path(path, key), item) for key, item in node]
        else:
            inner = [(f"{path}[{i}]", item) for i, item in enumerate(node)]
        pending.extend(pair for pair in reversed(inner) if isinstance(pair[1], list | str))


def _refuse_faulty_keys(members: _Members, path: str) -> None:
    seen = set()
    for key, _ in members:
        if _has_lone_surrogate(key):
            raise InvalidArgument(_named(member_path(path, key)), _LONE_SURROGATE)
        if key in seen:
            raise InvalidArgument(_named(member_path(path, key)), "duplicate key")
        seen.add(key)
