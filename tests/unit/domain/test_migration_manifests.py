"""Manifests of 1.x: parsing, problem reports, and writing them back."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from akidb.domain.entities import DEFAULT_QPS_QUOTA, DEFAULT_STORAGE_QUOTA_BYTES, Tenant
from akidb.domain.ids import TenantId
from akidb.domain.json import canonical
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.manifests import (
    FaultyManifest,
    Manifest,
    changed_manifest,
    first_suffixed,
    new_manifest,
    read_manifest,
    suffixed_slugs,
)
from akidb.domain.names import check_slug

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


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"null", b'"tenant_id"', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}']
)
def test_document_without_tenant_id_is_not_manifest(content: bytes) -> None:
    assert read_manifest(content) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"NaN",
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b"not JSON",
    ],
)
def test_invalid_json_is_reported(content: bytes) -> None:
    assert faults(content)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (body().replace(b'"name":', b'"name": "B", "name":'), "name: duplicate key"),
        (body(metadata={"n": 1}).replace(b'"n": 1', b'"n": 1, "n": 2'), "metadata.n: duplicate key"),
        (body(x_new=1).replace(b'"x_new": 1', b'"x_new": [NaN]'), "x_new[0]: NaN is not a JSON number"),
        (body(name="X").replace(b'"X"', b'"\\ud800"'), "name: must not contain a lone surrogate"),
    ],
)
def test_manifest_is_parsed_strictly(content: bytes, fault: str) -> None:
    assert faults(content) == [fault]


HUGE = ["9223372036854775808", "-9223372036854775809", "1" + "0" * 30, "9" * 5000, "-1" + "0" * 5000]
HUGE += ["1e400", "-1e400", "9" * 5000 + ".5", "1e99999999999999999999"]


@pytest.mark.parametrize("number", HUGE)
def test_number_of_any_size_is_accepted_in_unknown_field(number: str) -> None:
    content = body(x_new=1, quotas={"max_shards": 2}).replace(
        b'"x_new": 1', b'"x_new": [%b]' % number.encode()
    )
    content = content.replace(b'"max_shards": 2', b'"max_shards": %b' % number.encode())
    manifest = read_manifest(content)
    assert manifest is not None
    assert manifest == read(x_new=1, quotas={"max_shards": 2})
    assert manifest.unknown_fields == ("quotas.max_shards", "x_new")
    assert changed_manifest(content, tenant(manifest), "aki-labs") is content
    changed = changed_manifest(content, tenant(manifest, name="B", qps_quota=7), "aki-labs")
    assert changed == content.replace(b'"Aki Labs"', b'"B"').replace(
        b'}, "metadata', b', "api_rate_limit_per_second": 7}, "metadata'
    )
    assert read_manifest(b'{"n": %b}' % number.encode()) is None


@pytest.mark.parametrize("number", HUGE)
def test_number_that_cannot_be_stored_is_reported_in_known_field(number: str) -> None:
    def of(field: bytes, value: bytes = number.encode()) -> list[str]:
        return faults(body(**{field.decode(): 1}).replace(b'"%b": 1' % field, b'"%b": %b' % (field, value)))

    assert of(b"metadata", b'{"a": [%b]}' % number.encode()) in (
        ["metadata.a[0]: must fit in 64 bits, signed"],
        ["metadata.a[0]: must be finite"],
    )
    (fault,) = of(b"quotas", b'{"max_storage_bytes": %b}' % number.encode())
    assert fault.startswith("quotas.max_storage_bytes: must be a whole number")
    assert of(b"name") == ["name: must be a string, not a number"]
    assert of(b"status") == ["status: must be one of active, suspended, deleted"]
    twice = b'{"k": %b, "k": 1}' % number.encode()
    assert of(b"x_new", twice) == ["x_new.k: duplicate key"]
    for constant in (b"NaN", b"Infinity", b"-Infinity"):
        assert of(b"x_new", b"[%b, %b]" % (number.encode(), constant)) != []
    assert of(b"x_new", b'[%b, "\\ud800"]' % number.encode()) == [
        "x_new[1]: must not contain a lone surrogate"
    ]
    assert of(b"x_new", b"[%b" % number.encode()) != []


def test_byte_order_mark_is_ignored_and_preserved() -> None:
    content = b"\xef\xbb\xbf" + body()
    manifest = read_manifest(content)
    assert manifest == read()
    assert manifest is not None
    assert changed_manifest(content, tenant(manifest), "aki-labs") == content
    changed = changed_manifest(content, tenant(manifest, name="B"), "aki-labs")
    assert changed == content.replace(b"Aki Labs", b"B")


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
