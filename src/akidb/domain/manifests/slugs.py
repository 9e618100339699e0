"""Alternatives for a slug, given by a manifest or derived from its name, that is already taken."""

from collections.abc import Iterator

from akidb.domain.ids import TenantId
from akidb.domain.names import alternative_slugs


def first_suffixed(slug: str, tenant_id: TenantId) -> str:
    """Return the slug, cut to fit, `-` and 8 hex digits of the SHA-256 of the ID's 16 bytes: 63 at most."""
    return next(suffixed_slugs(slug, tenant_id))


def suffixed_slugs(slug: str, tenant_id: TenantId) -> Iterator[str]:
    """Yield that slug, then slugs with more and more digits, for the case that it is taken too."""
    return alternative_slugs(slug, tenant_id.raw)
