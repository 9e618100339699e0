"""Manifests of 1.x as JSON: what is no manifest, strict parsing, numbers of any size, byte order marks."""

import pytest
from manifest_samples import body, faults, read, tenant

from akidb.domain.manifests import changed_manifest, read_manifest


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
