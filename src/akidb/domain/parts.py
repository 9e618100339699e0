"""The parts of a document that a response has: text, metadata or some of its fields, vector.

In a request they are words: `text`, `vector`, `metadata`, and `metadata.FIELD` for one field, named as in a
filter.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from akidb.domain.documents import DEFAULT_INCLUDE, Include, answer_size
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import text_fault
from akidb.domain.names import check_text
from akidb.domain.plain import listed

MAX_FIELDS: Final = 100
"""Maximum number of metadata fields named in one request."""
MAX_FIELD_BYTES: Final = 512
FIELD_PREFIX: Final = "metadata."
PATTERN: Final = r"^(text|vector|metadata(\.[^,]+)?)$"

_PARTS: Final = frozenset(Include)
_WORDS: Final = "text, metadata, vector or metadata.FIELD"
_Tree: TypeAlias = dict[str, "_Tree | None"]
"""The chosen keys of an object, each with those of its value; None for the whole value."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def check_include(include: object, field: str = "include") -> frozenset[str]:
    """Check the parts of each document to return; beside the whole metadata, fields of it are dropped."""
    if include is DEFAULT_INCLUDE:
        return DEFAULT_INCLUDE
    if type(include) is frozenset and include <= _PARTS:
        return _words(include)
    given = listed(include, field, _WORDS, MAX_FIELDS + len(_PARTS))
    parts = frozenset(_part(part, field) for part in given)
    if Include.METADATA in parts:
        return parts & _PARTS
    if len(parts - _PARTS) > MAX_FIELDS:
        raise InvalidArgument(field, f"must have at most {MAX_FIELDS} fields of the metadata")
    return parts


def check_group_field(name: object, field: str) -> str:
    """Check the name of a field of the metadata to group by."""
    checked = check_text(name, field, maximum_bytes=MAX_FIELD_BYTES)
    if not checked or checked.startswith("$"):
        raise InvalidArgument(field, "must name a field of the metadata")
    return checked


@cache
def _words(words: frozenset[str]) -> frozenset[str]:
    return frozenset(map(Include, words))


def _part(part: object, field: str) -> str:
    if not isinstance(part, str):
        raise InvalidArgument(field, f"must be a list of {_WORDS}")
    if part in _PARTS:
        return Include(part)
    name = part.removeprefix(FIELD_PREFIX)
    if name == part or not name:
        raise InvalidArgument(field, f"must be one of {_WORDS}")
    if (fault := text_fault(name)) is not None:
        raise InvalidArgument(field, f"a field {fault}")
    if len(name.encode()) > MAX_FIELD_BYTES:
        raise InvalidArgument(field, f"a field must have at most {MAX_FIELD_BYTES} bytes of UTF-8")
    if "," in name:
        raise InvalidArgument(field, "a field must not contain a comma, which separates them in a URL")
    return str(part)


class Fields:
    """Chosen fields of metadata in their places: `a.b` of `{"a": {"b": 1, "c": 2}}` is `{"a": {"b": 1}}`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        self._dotted = [name for name in self._names if "." in name]
        self._tree = _tree(self._names)

    def of(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the chosen fields that metadata has. A key equal to a whole name goes before the path."""
        tree = self._tree
        whole = [name for name in self._dotted if name in metadata]
        if whole:
            tree = _tree([name for name in self._names if name not in whole])
            tree.update(dict.fromkeys(whole))
        return _chosen(metadata, tree)


def _tree(names: Iterable[str]) -> _Tree:
    root: _Tree = {}
    for name in names:  # sorted, so that `a` comes before `a.b`
        *path, last = name.split(".")
        tree: _Tree | None = root
        for key in path:
            if tree is None:
                break
            tree = tree.setdefault(key, {})
        if tree is not None:
            tree[last] = None
    return root


def _chosen(value: Mapping[str, Any], tree: _Tree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, below in tree.items():
        if key not in value:
            continue
        inner = value[key]
        if below is None:
            found[key] = inner
        elif type(inner) is dict:
            if chosen := _chosen(inner, below):
                found[key] = chosen
        elif type(inner) is list and (listed := _each(inner, below)):
            found[key] = listed
    return found


def _each(items: list[Any], tree: _Tree) -> list[Any]:
    chosen = (_chosen(item, tree) for item in items if type(item) is dict)
    return [one for one in chosen if one]


class Parts(msgspec.Struct, frozen=True):
    """What a response has of each document."""

    text: bool
    vector: bool
    metadata: bool
    fields: Fields | None
    """The fields of the metadata; None for all."""
    metadata_of: Callable[[str], dict[str, Any] | None]
    """Returns the metadata for a response from its JSON. Raises a MsgspecError for a damaged one."""

    @staticmethod
    def of(include: Collection[str]) -> "Parts":
        """Return the checked parts of a request."""
        return _parts(frozenset(include))

    def size(self, id: str, text: str | None, metadata: str, vector: bytes | None) -> int:
        """Return about how many bytes a document takes in an answer; `metadata` is JSON."""
        kept: str | None = metadata if self.metadata else None
        if self.fields is not None:
            try:
                kept = _encode(self.metadata_of(metadata)).decode()
            except (msgspec.MsgspecError, ValueError, TypeError):  # of a damaged row
                kept = None
        return answer_size(id, text if self.text else None, kept, vector)


@lru_cache(maxsize=256)
def _parts(include: frozenset[str]) -> Parts:
    names = [part.removeprefix(FIELD_PREFIX) for part in include if part not in _PARTS]
    text, vector = Include.TEXT in include, Include.VECTOR in include
    if names:
        fields = Fields(names)
        return Parts(text, vector, True, fields, lambda stored: fields.of(_decode(stored)))
    if Include.METADATA in include:
        return Parts(text, vector, True, None, _decode)
    return Parts(text, vector, False, None, lambda _stored: None)
