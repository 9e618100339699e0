"""Checks of names, slugs, emails, texts and numbers given by users, and slugs derived from names.

Each check returns its value (a name or slug as a plain `str`), or raises InvalidArgument with the field's
name. The database schema repeats the rules as CHECK constraints, for rows that are written by other means.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256
from operator import index
from typing import TypeVar

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import EntityId, is_uuid_shaped
from akidb.domain.plain import plain

MAX_INTEGER = 2**63 - 1
MAX_VERSION = 2**31 - 2
MAX_SEQUENCE = 2**62
"""Upper bounds of counters, which leave room for further increments."""
MAX_SLUG_LENGTH = 63
SUFFIX_DIGITS = 8
MAX_FOLDED_LENGTH = 512
MAX_EMAIL_BYTES = 254
"""RFC 5321, section 4.5.3.1.3: a path has at most 256 bytes, including its angle brackets."""
MIN_PASSWORD_BYTES, MAX_PASSWORD_BYTES = 8, 1024

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
# No quoted local parts, and no backslash, which browsers read as a slash.
_EMAIL = re.compile(r"""[^\s"(),:;<>@\[\]\\]{1,64}@[\w-]+(?:\.[\w-]+)*""")
_FORBIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")

IdT = TypeVar("IdT", bound=EntityId)
WordT = TypeVar("WordT", bound=StrEnum)


def check_slug(value: object, field: str = "slug") -> str:
    """Check a slug: 1-63 of `a-z 0-9 -`, first and last a letter or digit, not shaped like a UUID."""
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise InvalidArgument(field, "must be 1-63 of a-z, 0-9 and -, starting and ending with a-z or 0-9")
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return str.__str__(value)  # a plain str also for a subclass, such as NumPy's


def check_name(value: object, field: str = "name") -> str:
    """Check the name of a database or collection."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidArgument(
            field, "must be 1-128 of letters, digits, _ . and -, starting with a letter or digit"
        )
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return str.__str__(value)  # a plain str also for a subclass, such as NumPy's


def check_email(value: object, field: str = "email") -> str:
    """Check an email address; letters of any script are allowed."""
    # The folded form is checked too, since folding may turn a character into `@`.
    if type(value) is not str or not _is_email(value) or not _is_email(email_key(value)):
        raise InvalidArgument(
            field, f"must be an email address: NAME@DOMAIN, up to {MAX_EMAIL_BYTES} bytes without spaces"
        )
    return value


def email_key(email: str) -> str:
    """Return the key by which emails are compared, ignoring case and Unicode composition."""
    return fold(email)


def is_same_email(one: str, other: str) -> bool:
    """Return whether two emails with the same key differ only in case or canonical composition.

    The key is coarser: `straße@x` and `strasse@x` have the same one, but may be two people.
    """
    return one == other or _simply_folded(one) == _simply_folded(other)


def _simply_folded(text: str) -> str:
    """Fold each character to one character, as Unicode's simple case folding does."""
    if text.isascii():
        return text.lower()
    characters = unicodedata.normalize("NFC", text)
    return "".join(full if len(full := each.casefold()) == 1 else each.lower() for each in characters)


def fold(text: str) -> str:
    """Return a form that is equal for texts that differ only in case or Unicode composition.

    This is compatibility caseless matching (Unicode 3.13, D146), so that both databases compare alike.
    """
    if text.isascii():
        return text.lower()
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", once.casefold())


def fold_name(name: str) -> str:
    """Return a tenant's name as it is searched and sorted: folded and cut to 512 characters.

    One character may fold to 18, and an index entry of PostgreSQL has at most 2,700 bytes.
    """
    return fold(name)[:MAX_FOLDED_LENGTH]


def _is_email(text: str) -> bool:
    return (
        text.isprintable()  # excludes lone surrogates and invisible characters
        and len(text.encode()) <= MAX_EMAIL_BYTES
        and _EMAIL.fullmatch(text) is not None
    )


def check_password(value: object, field: str = "password") -> str:
    """Check a new password. Error messages never contain it."""
    text = check_text(value, field, maximum_bytes=MAX_PASSWORD_BYTES)
    if len(text.encode()) < MIN_PASSWORD_BYTES:
        raise InvalidArgument(field, f"must be at least {MIN_PASSWORD_BYTES} bytes of UTF-8")
    return text


def _exact(value: object, field: str) -> str:
    """Return text as an exact `str`: of a subclass, such as NumPy's, a copy."""
    if type(value) is str:
        return value
    if not isinstance(value, str):
        raise InvalidArgument(field, f"must be text, not {type(value).__name__}")
    return str.__str__(value)


def check_label(value: object, field: str, *, maximum: int = 255) -> str:
    """Check single-line text, such as a tenant's name: not blank, no control characters."""
    value = _exact(value, field)
    if not 1 <= len(value) <= maximum or not value.strip():
        raise InvalidArgument(field, f"must be 1-{maximum} characters and not blank")
    if not value.isascii() or not value.isprintable():
        for character in value:
            if unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
                raise InvalidArgument(field, f"must not contain the character U+{ord(character):04X}")
    return value


def check_text(value: object, field: str, *, maximum_bytes: int) -> str:
    """Check free text: at most `maximum_bytes` of UTF-8, without U+0000 and lone surrogates."""
    value = _exact(value, field)
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(field, "must not contain lone surrogates") from None
    if size > maximum_bytes:
        raise InvalidArgument(field, f"must be at most {maximum_bytes} bytes of UTF-8, has {size}")
    if "\x00" in value:
        raise InvalidArgument(field, "must not contain the character U+0000")
    return value


def check_integer(value: object, field: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
    """Check an integer, such as NumPy's, within inclusive bounds; booleans are refused."""
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = index(value)  # type: ignore[arg-type]
        except TypeError:
            raise InvalidArgument(field, f"must be a whole number, not {type(value).__name__}") from None
    if not minimum <= value <= maximum:
        raise InvalidArgument(field, f"must be a whole number from {minimum} to {maximum}")
    return value


def check_quota(value: object, field: str) -> int | None:
    """Check a quota, and return the largest integer as None: unlimited."""
    checked = check_integer(value, field)
    return None if checked == MAX_INTEGER else checked


def check_flag(value: object, field: str) -> bool:
    """Check a boolean; other truthy or falsy values are refused."""
    value = plain(value)
    if type(value) is not bool:
        raise InvalidArgument(field, f"must be true or false, not {type(value).__name__}")
    return value


def check_word(kind: type[WordT], value: object, field: str) -> WordT:
    """Check a value of an enumeration."""
    if type(value) is kind:
        return value
    for word in kind if isinstance(value, str) else ():
        if word == value:
            return word
    raise InvalidArgument(field, f"must be one of {', '.join(kind)}")


def parse_reference(kind: type[IdT], value: object) -> IdT | str:
    """Parse a reference to an entity: its typed ID, the ID as text, or its slug, name or email.

    Raises InvalidArgument (`field` is the entity) for anything else, TypeError for an ID of another entity.
    """
    if isinstance(value, EntityId):
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
        return value
    if isinstance(value, str):
        if is_uuid_shaped(value) and value == value.lower():
            return kind.parse(value)
        if _is_nickname(kind.entity, value):
            return value
    wanted = {"tenant": "a slug", "user": "an email"}.get(kind.entity, "a name")
    raise InvalidArgument(kind.entity, f"is neither {wanted} nor an ID")


def _is_nickname(entity: str, text: str) -> bool:
    """Return whether `text` could be the slug, name or email of such an entity."""
    if entity == "user":
        return _is_email(text)
    pattern = _SLUG if entity == "tenant" else _NAME
    return pattern.fullmatch(text) is not None and not is_uuid_shaped(text)


def derive_slug(name: str) -> str:
    """Derive a slug from a tenant's name; it is always valid, and never empty.

    Letters of other scripts are transliterated: `Café 日本` gives `cafe-riben`.
    """
    from anyascii import anyascii

    words = re.findall(r"[a-z0-9]+", anyascii(name).lower())
    slug = "-".join(words)[:MAX_SLUG_LENGTH].strip("-") or "tenant"
    return f"t-{slug}" if is_uuid_shaped(slug) else slug


def alternative_slugs(slug: str, key: bytes) -> Iterator[str]:
    """Yield the slug, cut to fit in 63 characters, `-` and 8 or more hex digits of the SHA-256 of `key`."""
    digest = sha256(key).hexdigest()
    for digits in range(SUFFIX_DIGITS, MAX_SLUG_LENGTH - 1):
        made = f"{slug[: MAX_SLUG_LENGTH - 1 - digits].rstrip('-')}-{digest[:digits]}"
        if not is_uuid_shaped(made):
            yield made
