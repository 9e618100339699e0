"""What becomes of a slug that a manifest gives, or that is made from its name, and that is taken."""

from collections.abc import Iterator
from hashlib import sha256

from akidb.domain.ids import TenantId, is_uuid_shaped
from akidb.domain.names import MAX_SLUG_LENGTH

DIGITS = 8


def first_suffixed(slug: str, tenant_id: TenantId) -> str:
    """The slug, `-` and 8 hex digits of the SHA-256 of the ID's 16 bytes; cut so that all is 63 at most."""
    return _suffixed(slug, sha256(tenant_id.raw).hexdigest()[:DIGITS])


def suffixed_slugs(slug: str, tenant_id: TenantId) -> Iterator[str]:
    """That slug, and then, should it be taken too, ones with more and more digits."""
    digest = sha256(tenant_id.raw).hexdigest()
    for digits in range(DIGITS, MAX_SLUG_LENGTH - 1):
        made = _suffixed(slug, digest[:digits])
        if not is_uuid_shaped(made):
            yield made


def _suffixed(slug: str, digits: str) -> str:
    return f"{slug[: MAX_SLUG_LENGTH - 1 - len(digits)].rstrip('-')}-{digits}"
