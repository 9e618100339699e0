"""The shapes of names, slugs, emails, texts and sizes that users give, and the slug made from a name.

Each check returns the value it was given, a name or slug as a plain `str`, or raises InvalidArgument with the
field's name. The schema holds the same rules again as CHECK constraints, for rows that come by other means.
"""

import re
import unicodedata
from enum import StrEnum
from typing import TypeVar

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import EntityId, is_uuid_shaped

MAX_INTEGER = 2**63 - 1
MAX_SLUG_LENGTH = 63
MAX_FOLDED_LENGTH = 512
MAX_EMAIL_BYTES = 254
"""RFC 5321, 4.5.3.1.3: a path of 256 with its angle brackets."""
MIN_PASSWORD_BYTES, MAX_PASSWORD_BYTES = 8, 1024

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
# No quoted local parts, and no character that would end a segment of a URL's path.
_EMAIL = re.compile(r"""[^\s"(),:;<>@\[\]\\/]{1,64}@[\w-]+(?:\.[\w-]+)*""")
_FORBIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")

IdT = TypeVar("IdT", bound=EntityId)
WordT = TypeVar("WordT", bound=StrEnum)


def check_slug(value: object, field: str = "slug") -> str:
    """1-63 of `a-z 0-9 -`, first and last a letter or digit, not shaped like a UUID."""
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise InvalidArgument(field, "must be 1-63 of a-z, 0-9 and -, starting and ending with a-z or 0-9")
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return str.__str__(value)  # also of a subclass, such as NumPy's


def check_name(value: object, field: str = "name") -> str:
    """The name of a database or collection."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidArgument(
            field, "must be 1-128 of letters, digits, _ . and -, starting with a letter or digit"
        )
    if is_uuid_shaped(value):
        raise InvalidArgument(field, "must not be shaped like a UUID")
    return str.__str__(value)  # also of a subclass, such as NumPy's


def check_email(value: object, field: str = "email") -> str:
    """An address as people write it, also with letters of other scripts."""
    # Looked at when folded too: a character that becomes `@` or `/` then is none for an address.
    if type(value) is not str or not _is_email(value) or not _is_email(email_key(value)):
        raise InvalidArgument(
            field, f"must be an email address: NAME@DOMAIN, up to {MAX_EMAIL_BYTES} bytes without spaces"
        )
    return value


def email_key(email: str) -> str:
    """What two emails share when they differ in case alone, or in the way a letter is composed."""
    return fold(email)


def fold(text: str) -> str:
    """What texts share that differ in case alone, or in the way a letter is composed.

    A compatibility caseless match (Unicode 3.13, D146), so that both databases compare what was folded here.
    """
    if text.isascii():
        return text.lower()
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", once.casefold())


def fold_name(name: str) -> str:
    """A tenant's name as it is searched and sorted.

    Its first 512 characters: one character may fold into 18, and PostgreSQL indexes 2,700 bytes at most.
    """
    return fold(name)[:MAX_FOLDED_LENGTH]


def _is_email(text: str) -> bool:
    return (
        text.isprintable()  # and so without lone surrogates, and with nothing that cannot be seen
        and len(text.encode()) <= MAX_EMAIL_BYTES
        and _EMAIL.fullmatch(text) is not None
    )


def check_password(value: object, field: str = "password") -> str:
    """A password to be set. No message ever holds it."""
    text = check_text(value, field, maximum_bytes=MAX_PASSWORD_BYTES)
    if len(text.encode()) < MIN_PASSWORD_BYTES:
        raise InvalidArgument(field, f"must be at least {MIN_PASSWORD_BYTES} bytes of UTF-8")
    return text


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
    for word in kind if isinstance(value, str) else ():
        if word == value:
            return word
    raise InvalidArgument(field, f"must be one of {', '.join(kind)}")


def parse_reference(kind: type[IdT], value: object) -> IdT | str:
    """What a user names a thing by: its typed ID, the text of that, or its slug, name or email.

    Raises InvalidArgument(the entity) for what can be neither.
    """
    if isinstance(value, EntityId):
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} wanted, not {type(value).__name__}")
        return value
    if isinstance(value, str):
        if is_uuid_shaped(value) and value == value.lower():
            return kind.parse(value)
        if _is_nickname(kind.entity, value):
            return value
    wanted = {"tenant": "a slug", "user": "an email"}.get(kind.entity, "a name")
    raise InvalidArgument(kind.entity, f"is neither {wanted} nor an ID")


def _is_nickname(entity: str, text: str) -> bool:
    """Whether `text` could be what people call such an entity by, rather than its ID."""
    if entity == "user":
        return _is_email(text)
    pattern = _SLUG if entity == "tenant" else _NAME
    return pattern.fullmatch(text) is not None and not is_uuid_shaped(text)


def derive_slug(name: str) -> str:
    """Make the slug of a tenant that was created without one, never empty and always valid.

    Letters of other scripts are transliterated: `Café 日本` gives `cafe-riben`.
    """
    from anyascii import anyascii

    words = re.findall(r"[a-z0-9]+", anyascii(name).lower())
    slug = "-".join(words)[:MAX_SLUG_LENGTH].strip("-") or "tenant"
    return f"t-{slug}" if is_uuid_shaped(slug) else slug
