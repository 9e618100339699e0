"""The filter language, which selects the documents of a search, scan, count, update or deletion.

`docs/filters.md` is its user documentation. `nodes` is the tree that adapters translate, `parsing` builds
it from JSON, `matching` compiles it to a function, which is the reference for the meaning of a filter.
"""

import marshal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.filters.matching import Matcher, matcher
from akidb.domain.filters.nodes import EVERYTHING, Node, fields_read, has_patterns
from akidb.domain.filters.parsing import MAX_CONDITIONS, MAX_DEPTH, MAX_OPERANDS, parse
from akidb.domain.json import canonical
from akidb.domain.plain import plain

__all__ = ["MAX_CONDITIONS", "MAX_DEPTH", "MAX_OPERANDS", "Filter"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked filter, created by `Filter.parse`; compared and hashed by its canonical JSON."""

    canonical: bytes
    root: Node = field(compare=False, repr=False)
    _matcher: Matcher = field(compare=False, repr=False)

    @classmethod
    def parse(cls, value: object, field: str = "filter") -> "Filter":
        """Check and compile the JSON of a filter.

        Raises InvalidArgument with the path of the invalid part, as in `filter.$and[1].year.$gte`.
        """
        key = _key(value)
        known = None if key is None else _parsed.get(key)
        if known is not None:
            return known
        try:
            root = parse(value, field)
        except InvalidArgument:
            value = plain(value)  # it may have values of NumPy, or tuples
            root, key = parse(value, field), None
        parsed = cls(canonical(value), root, matcher(root))
        if key is not None:
            if len(_parsed) >= _MOST_KEPT:
                _parsed.clear()
            _parsed[key] = parsed
        return parsed

    @classmethod
    def checked(cls, value: object, field: str = "filter") -> "Filter":
        """Return a parsed filter as it is; parse the JSON of a filter."""
        return value if isinstance(value, Filter) else cls.parse(value, field)

    def matches(self, id: str, text: str | None, metadata: Mapping[str, Any]) -> bool:
        """Return whether a document with this id, text and metadata matches."""
        return self._matcher(id, text, metadata)

    @property
    def is_empty(self) -> bool:
        """Whether it has no conditions, as in `{}` and `{"$and": [{}]}`, so that all documents match."""
        return self.root == EVERYTHING

    @property
    def has_patterns(self) -> bool:
        """Whether it has regular expressions, which may take seconds for one document."""
        return has_patterns(self.root)

    @property
    def fields(self) -> frozenset[str]:
        """The top-level metadata keys that it reads; for `a.b` both `a.b` and `a`."""
        return fields_read(self.root)

    def to_json(self) -> dict[str, Any]:
        """Return the value that it was parsed from, as a new object."""
        return msgspec.json.decode(self.canonical, type=dict[str, Any])


_MOST_KEPT, _MOST_BYTES = 256, 1024
_parsed: dict[bytes, Filter] = {}
"""Small filters that were parsed, since most come again."""


def _key(value: Any) -> bytes | None:
    """Return what tells the JSON of a filter from others, values of other types included."""
    try:
        key = marshal.dumps(value, 0)
    except ValueError:
        return None
    return key if len(key) <= _MOST_BYTES else None
