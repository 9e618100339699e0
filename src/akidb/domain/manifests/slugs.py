"""Alternatives for a slug, given by a manifest or derived from its name, that is already taken."""

from collections.abc import Iterator
from hashlib import sha256

from akidb.domain.ids import TenantId, is_uuid_shaped
from akidb.domain.names import MAX_SLUG_LENGTH

DIGITS = 8


def first_suffixed(slug: str, tenant_id: TenantId) -> str:
    """Return the slug, cut to fit, `-` and 8 hex digits of the SHA-256 of the ID's 16 bytes: 63 at most."""
    return _suffixed(slug, sha256(tenant_id.raw).hexdigest()[:DIGITS])


def suffixed_slugs(slug: str, tenant_id: TenantId) -> Iterator[str]:
    """Yield that slug, then slugs with more and more digits, for the case that it is taken too."""
    digest = sha256(tenant_id.raw).hexdigest()
    for digits in range(DIGITS, MAX_SLUG_LENGTH - 1):
        made = _suffixed(slug, digest[:digits])
        if not is_uuid_shaped(made):
            yield made


def _suffixed(slug: str, digits: str) -> str:
    return f"{slug[: MAX_SLUG_LENGTH - 1 - len(digits)].rstrip('-')}-{digits}"
