"""The shapes of names, slugs, texts and sizes that users give, and the slug made from a name.

Each check returns the value it was given, or raises InvalidArgument with the field's name. The
schema holds the same rules again as CHECK constraints, for rows that come by other means.
"""

import re
import unicodedata
from enum import StrEnum
from typing import TypeVar

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import EntityId, is_uuid_shaped

MAX_INTEGER = 2**63 - 1
MAX_SLUG_LENGTH = 63

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_FORBIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")

IdT = TypeVar("IdT", bound=EntityId)
WordT = TypeVar("WordT", bound=StrEnum)


def check_slug(value: object, field: str = "slug") -> str:
    """1-63 of `a-z 0-9 -`, first and last a letter or digit, not shaped like a UUID."""
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise InvalidArgument(field, "must be 1-63 of a-z, 0-9 and -, starting and ending with a-z or 0-9")
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return value


def check_name(value: object, field: str = "name") -> str:
    """The name of a database or collection."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidArgument(
            field, "must be 1-128 of letters, digits, _ . and -, starting with a letter or digit"
        )
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return value


def check_label(value: object, field: str, *, maximum: int = 255) -> str:
    """Text for people on one line, as a tenant's name: not blank, no control characters."""
    if type(value) is not str:
        raise InvalidArgument(field, f"must be text, not {type(value).__name__}")
    if not 1 <= len(value) <= maximum or not value.strip():
        raise InvalidArgument(field, f"must be 1-{maximum} characters, not all of them spaces")
    if not value.isascii() or not value.isprintable():
        for character in value:
            if unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
                raise InvalidArgument(field, f"must not hold the character U+{ord(character):04X}")
    return value


def check_text(value: object, field: str, *, maximum_bytes: int) -> str:
    """Free text: any characters but U+0000 and lone surrogates, up to so many bytes of UTF-8."""
    if type(value) is not str:  # a subclass, such as NumPy's, is not what is stored
        raise InvalidArgument(field, f"must be text, not {type(value).__name__}")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(field, "must not hold lone surrogates") from None
    if size > maximum_bytes:
        raise InvalidArgument(field, f"must be at most {maximum_bytes} bytes of UTF-8, has {size}")
    if "\x00" in value:
        raise InvalidArgument(field, "must not hold the character U+0000")
    return value


def check_integer(value: object, field: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
    """Check a whole number within bounds; a boolean is none, nor is NumPy's."""
    if type(value) is not int:
        raise InvalidArgument(field, f"must be a whole number, not {type(value).__name__}")
    if not minimum <= value <= maximum:
        raise InvalidArgument(field, f"must be a whole number from {minimum} to {maximum}")
    return value


def check_flag(value: object, field: str) -> bool:
    """True or false, and nothing that only counts as one of them."""
    if type(value) is not bool:
        raise InvalidArgument(field, f"must be true or false, not {type(value).__name__}")
    return value


def check_word(kind: type[WordT], value: object, field: str) -> WordT:
    """One of the words of an enumeration."""
    for word in kind:
        if word == value:
            return word
    raise InvalidArgument(field, f"must be one of {', '.join(kind)}")


def parse_reference(kind: type[IdT], value: object) -> IdT | str:
    """What a user names a thing by: its typed ID, the text of that, or its slug or name.

    Raises InvalidArgument(the entity) for what can be neither.
    """
    if isinstance(value, EntityId):
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} wanted, not {type(value).__name__}")
        return value
    if isinstance(value, str):
        if is_uuid_shaped(value) and value == value.lower():
            return kind.parse(value)
        pattern = _SLUG if kind.entity == "tenant" else _NAME
        if pattern.fullmatch(value) and not is_uuid_shaped(value):
            return value
    wanted = "slug" if kind.entity == "tenant" else "name"
    raise InvalidArgument(kind.entity, f"is neither a {wanted} nor an ID")


def derive_slug(name: str) -> str:
    """Make the slug of a tenant that was created without one, never empty and always valid.

    Letters of other scripts are transliterated: `Café 日本` gives `cafe-riben`.
    """
    from anyascii import anyascii

    words = re.findall(r"[a-z0-9]+", anyascii(name).lower())
    slug = "-".join(words)[:MAX_SLUG_LENGTH].strip("-") or "tenant"
    return f"t-{slug}" if is_uuid_shaped(slug) else slug
