"""Manifests of 1.x written back: unchanged bytes stay, changed fields are rewritten, new files are made."""

import json
from datetime import UTC, datetime

from manifest_samples import GOOD, HEX, body, read, tenant
from msgspec.structs import replace

from akidb.domain.json import canonical
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.manifests import changed_manifest, new_manifest, read_manifest


def test_unchanged_tenant_is_written_byte_for_byte() -> None:
    for content in (body(), body(slug=None), json.dumps(GOOD, indent=3).encode() + b"\n\n"):
        manifest = read_manifest(content)
        assert manifest is not None
        assert changed_manifest(content, tenant(manifest), manifest.slug or "made") is content


def test_only_changed_fields_are_rewritten() -> None:
    content = (
        b'{"x": 1.10, "name" :"A",\n  "quotas": {"max_collections": 1e1, "max_storage_bytes":5},\r\n'
        b'"tenant_id": "%s", "metadata": {"n": 1.0}, "created_at": "2025-03-01T10:00:00+09:00",'
        b' "updated_at": "2025-03-01T10:00:00+09:00"}' % HEX.encode()
    )
    manifest = read_manifest(content)
    assert manifest is not None
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    after = tenant(manifest, name='B "日本"', storage_quota_bytes=6, updated_at=now, slug="b")
    assert changed_manifest(content, after, "a") == (
        content.replace(b'"A"', '"B \\"日本\\""'.encode())
        .replace(b":5", b":6")
        .replace(b'at": "2025-03-01T10:00:00+09:00"}', b'at": "2026-01-02T03:04:05.000678Z", "slug": "b"}')
    )


def test_missing_manifest_fields_are_added() -> None:
    start, end = b'{"tenant_id": "%s", "name": "A", ', b'"created_at": "2025-03-01T10:00Z"'
    for middle in (b"", b'"quotas": {}, "metadata": null, '):
        content = start + middle + end + b', "updated_at": "2025-03-01T10:00Z"}'
        manifest = read_manifest(content % HEX.encode())
        assert manifest is not None
        after = tenant(
            manifest,
            slug="a",
            status=TenantStatus.DECOMMISSIONED,
            qps_quota=5,
            metadata={"max_storage_bytes": 1, "qps": True},
        )
        again = read_manifest(changed_manifest(content % HEX.encode(), after, "made"))
        assert again == replace(manifest, slug="a", status=after.status, qps_quota=5, metadata=after.metadata)


def test_metadata_change_from_one_to_true_is_written() -> None:
    content = body(metadata={"n": 1})
    manifest = read_manifest(content)
    assert manifest is not None
    again = read_manifest(changed_manifest(content, tenant(manifest, metadata={"n": True}), "aki-labs"))
    assert again is not None
    assert canonical(again.metadata) == b'{"n":true}'


def test_new_manifest_of_2_0_tenant_round_trips() -> None:
    born = tenant(read(), status=TenantStatus.PROVISIONING, name="Ünï\u2028", storage_quota_bytes=0)
    manifest = read_manifest(new_manifest(born))
    assert manifest is not None
    assert manifest == replace(read(), name=born.name, status=TenantStatus.SUSPENDED, storage_quota_bytes=0)
