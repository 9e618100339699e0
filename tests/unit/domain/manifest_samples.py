"""A manifest of 1.x with changes, what is read of it, and the tenant that a migration makes of it."""

import json
from typing import Any
from uuid import UUID

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.manifests import FaultyManifest, Manifest, read_manifest

HEX = "018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f"
HYPHENATED = str(UUID(HEX))
GOOD: dict[str, Any] = {
    "tenant_id": f"tenant_{HEX}",
    "name": "Aki Labs",
    "slug": "aki-labs",
    "status": "active",
    "api_key_hash": "c0ffee",
    "created_at": "2025-03-01T10:00:00Z",
    "updated_at": "2025-03-02T11:00:00+09:00",
    "quotas": {"max_storage_bytes": 107374182400, "max_collections": 50, "api_rate_limit_per_second": 100},
    "metadata": {"billing_plan": "pro", "custom": {"region": "eu"}},
}


def body(**changes: Any) -> bytes:
    """The good manifest with changes; None for a field takes it out."""
    return json.dumps({k: v for k, v in {**GOOD, **changes}.items() if v is not None}).encode()


def read(**changes: Any) -> Manifest:
    manifest = read_manifest(body(**changes))
    assert manifest is not None
    return manifest


def faults(content: bytes) -> list[str]:
    with pytest.raises(FaultyManifest) as caught:
        read_manifest(content)
    return [f"{fault.field}: {fault.reason}" for fault in caught.value.faults]


def tenant(manifest: Manifest, **changes: Any) -> Tenant:
    """What the migration makes of a manifest, changed since."""
    fields = {
        name: getattr(manifest, name)
        for name in Manifest.__struct_fields__
        if name not in {"slug", "invalid_slug", "unknown_fields"}
    }
    return Tenant(**{**fields, "slug": manifest.slug or "made", **changes})
