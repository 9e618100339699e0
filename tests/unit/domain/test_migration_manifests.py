"""Manifests of 1.x: what each field becomes, the problems that are reported, and slugs for taken ones."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from manifest_samples import GOOD, HEX, HYPHENATED, body, faults, read, tenant

from akidb.domain.entities import DEFAULT_QPS_QUOTA, DEFAULT_STORAGE_QUOTA_BYTES
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.manifests import first_suffixed, new_manifest, read_manifest, suffixed_slugs
from akidb.domain.names import check_slug


def test_every_field_is_migrated() -> None:
    manifest = read()
    assert manifest.tenant_id == TenantId(bytes.fromhex(HEX))
    assert (manifest.name, manifest.slug, manifest.status) == ("Aki Labs", "aki-labs", TenantStatus.ACTIVE)
    assert (manifest.storage_quota_bytes, manifest.qps_quota) == (107374182400, 100)
    assert manifest.metadata == GOOD["metadata"]
    assert manifest.created_at == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert manifest.updated_at == datetime(2025, 3, 2, 2, tzinfo=UTC)
    assert manifest.unknown_fields == ()


@pytest.mark.parametrize(
    "form", [HEX, HYPHENATED, f"tenant_{HYPHENATED}", HEX.upper(), f"tenant_{HYPHENATED.upper()}"]
)
def test_id_is_accepted_in_several_forms(form: str) -> None:
    assert read(tenant_id=form).tenant_id.raw.hex() == HEX


def test_id_can_be_uuid_of_any_version() -> None:
    made = uuid4()
    assert read(tenant_id=made.hex).tenant_id.raw == made.bytes


@pytest.mark.parametrize(
    "form",
    [
        "g" + HEX[1:],  # 32 characters, not hex
        "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in HEX),  # full-width digits
        HEX[:-2],  # 15 bytes
        HEX + "00",
        "٠" * 32,  # digits, of another script  # noqa: RUF001
        f"Tenant_{HEX}",
        f"tenant_tenant_{HEX}",
        f"{{{HYPHENATED}}}",
        f"urn:uuid:{HYPHENATED}",
        HYPHENATED.replace("-", "", 1),
        f" {HEX}",
        f"{HEX}\n",
        "",
    ],
)
def test_invalid_id_is_reported(form: str) -> None:
    (fault,) = faults(body(tenant_id=form))
    assert fault.startswith("tenant_id: ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ("Aki Labs!", "Aki Labs!"),
        ("-a", "-a"),
        ("a" * 64, "a" * 64),
        ("a" * 101, "a" * 100 + "..."),
        (HYPHENATED, HYPHENATED),
        ("", ""),
        ("Ä", "Ä"),
        (5, "5"),
        (1.5, "1.5"),
        (2**63, "(a number)"),
        (["a"], "(a list)"),
        ({}, "(an object)"),
        (True, "true"),
    ],
)
def test_invalid_slug_is_omitted_and_reported(value: Any, shown: str | None) -> None:
    manifest = read(slug=value)
    assert (manifest.slug, manifest.invalid_slug) == (None, shown)
    assert read().invalid_slug is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        (None, TenantStatus.ACTIVE),
        ("active", TenantStatus.ACTIVE),
        ("suspended", TenantStatus.SUSPENDED),
        ("deleted", TenantStatus.DECOMMISSIONED),
    ],
)
def test_statuses(word: str | None, status: TenantStatus) -> None:
    assert read(status=word).status == status


@pytest.mark.parametrize("word", ["Active", "decommissioned", "", 1, ["active"], False])
def test_invalid_status_is_reported(word: Any) -> None:
    assert faults(body(status=word)) == ["status: must be one of active, suspended, deleted"]


def test_missing_or_null_quotas_use_defaults() -> None:
    for quotas in (
        {},
        {"max_collections": 5},
        {"max_storage_bytes": None, "api_rate_limit_per_second": None},
    ):
        manifest = read(quotas=quotas)
        assert (manifest.storage_quota_bytes, manifest.qps_quota) == (
            DEFAULT_STORAGE_QUOTA_BYTES,
            DEFAULT_QPS_QUOTA,
        )
    assert read(quotas={"max_storage_bytes": 7}).qps_quota == DEFAULT_QPS_QUOTA
    assert read_manifest(body().replace(b'"quotas": {', b'"quotas": null, "x": {')) is not None


def test_zero_quota_stays_zero() -> None:
    manifest = read(quotas={"max_storage_bytes": 0, "api_rate_limit_per_second": 0})
    assert (manifest.storage_quota_bytes, manifest.qps_quota) == (0, 0)


@pytest.mark.parametrize("value", [2**63, -1, 1.0, True, "5", [], 2**70])
@pytest.mark.parametrize("name", ["max_storage_bytes", "api_rate_limit_per_second"])
def test_invalid_quota_is_reported(name: str, value: Any) -> None:
    (fault,) = faults(body(quotas={name: value}))
    assert fault.startswith(f"quotas.{name}: must be a whole number")


def test_largest_quota_is_unlimited_and_written_as_it_was() -> None:
    manifest = read(quotas={"max_storage_bytes": 2**63 - 1, "api_rate_limit_per_second": 2**63 - 2})
    assert (manifest.storage_quota_bytes, manifest.qps_quota) == (None, 2**63 - 2)
    again = read_manifest(new_manifest(tenant(manifest, qps_quota=None)))
    assert again is not None
    assert (again.storage_quota_bytes, again.qps_quota) == (None, None)


def test_null_metadata_becomes_empty() -> None:
    assert read_manifest(body(metadata={}).replace(b'"metadata": {}', b'"metadata": null')) == read(
        metadata=None
    )
    assert read(metadata=None).metadata == {}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('["a"]', "metadata"),
        ('"a"', "metadata"),
        ('{"a": "\\u0000"}', "metadata.a"),
        ('{"a": [1, 18446744073709551616]}', "metadata.a[1]"),
        ('{"a": ' * 70 + "1" + "}" * 70, "metadata.a."),
        ('{"a": "' + "x" * 2**20 + '"}', "metadata"),
    ],
)
def test_metadata_that_cannot_be_stored_is_reported(content: str, place: str) -> None:
    (fault,) = faults(body(metadata={}).replace(b'"metadata": {}', f'"metadata": {content}'.encode()))
    assert fault.startswith(place)


@pytest.mark.parametrize(
    "name", ["x", "x" * 255, " ", "日本語", "A/B", "...", "a\nb", "\N{GRINNING FACE}" * 255]
)
def test_name_is_kept_unchanged(name: str) -> None:
    assert read(name=name).name == name


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", 5, ["x"]])
def test_invalid_name_is_reported(name: Any) -> None:
    (fault,) = faults(body(name=name))
    assert fault.startswith("name: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-01T10:00:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01t10:00:00z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01 10:00:00+00:00", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00:00+0930", datetime(2025, 3, 1, 0, 30, tzinfo=UTC)),
        ("2025-03-01T10:00:00-05", datetime(2025, 3, 1, 15, tzinfo=UTC)),
        ("2025-03-01T10:00:00.5Z", datetime(2025, 3, 1, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2025-03-01T10:00:00.123456789Z", datetime(2025, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)),
        ("1969-12-31T23:59:59.999999999Z", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_times_are_parsed_as_instants(text: str, expected: datetime) -> None:
    assert read(created_at=text).created_at == expected


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-01T10:00:00",
        "2025-03-01",
        "2025-02-30T10:00:00Z",
        "2025-03-01T25:00:00Z",
        "0001-01-01T00:00:00+09:00",
        "9999-12-31T23:59:59-09:00",
        "２０２５-03-01T10:00:00Z",  # noqa: RUF001
        "yesterday",
        "",
        1740823200,
    ],
)
def test_invalid_time_is_reported(text: Any) -> None:
    (fault,) = faults(body(updated_at=text))
    assert fault.startswith("updated_at: ")


def test_updated_at_can_precede_created_at() -> None:
    manifest = read(created_at="2025-03-01T10:00:00.707161Z", updated_at="2025-03-01T10:00:00.707Z")
    assert manifest.updated_at < manifest.created_at


def test_all_problems_of_file_are_reported_together() -> None:
    content = body(tenant_id="x", name=None, status="?", quotas={"max_storage_bytes": -1}, created_at=None)
    assert [fault.partition(":")[0] for fault in faults(content)] == [
        "tenant_id",
        "name",
        "status",
        "quotas.max_storage_bytes",
        "created_at",
    ]


def test_unknown_fields_are_reported() -> None:
    manifest = read(x_unknown={"kept": True}, quotas={"max_shards": 3})
    assert manifest.unknown_fields == ("quotas.max_shards", "x_unknown")


def test_taken_slug_gets_suffix_from_id_digest() -> None:
    tenant_id = TenantId(bytes.fromhex(HEX))
    digest = sha256(bytes.fromhex(HEX)).hexdigest()
    assert first_suffixed("aki-labs", tenant_id) == f"aki-labs-{digest[:8]}"
    assert first_suffixed("a" * 63, tenant_id) == f"{'a' * 54}-{digest[:8]}"
    assert first_suffixed("a" * 53 + "-b", tenant_id) == f"{'a' * 53}-{digest[:8]}"
    every = list(suffixed_slugs("a" * 63, tenant_id))
    assert every[0] == first_suffixed("a" * 63, tenant_id)
    assert len(set(every)) == len(every) > 50
    for slug in every:
        check_slug(slug)


def test_suffixed_slug_is_never_shaped_like_id() -> None:
    tenant_id = TenantId(bytes.fromhex(HEX))
    for slug in suffixed_slugs(HYPHENATED[:23], tenant_id):
        check_slug(slug)
