"""Reads a 1.x manifest strictly: checks every field that 2.0 uses, and reports all faults.

For optional fields, null is equivalent to omission.
"""

import codecs
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from akidb.domain.entities import DEFAULT_QPS_QUOTA, DEFAULT_STORAGE_QUOTA_BYTES, Tenant, limit_of
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import TenantId
from akidb.domain.json import (
    TOO_DEEP,
    canonical,
    check_object,
    decode_any_number,
    decode_leniently,
    decode_strict,
    member_path,
    scalar_fault,
    text_fault,
    type_name,
)
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.names import check_quota, check_slug

FIELDS = frozenset(
    {
        "tenant_id",
        "name",
        "slug",
        "status",
        "api_key_hash",
        "created_at",
        "updated_at",
        "quotas",
        "metadata",
    }
)
QUOTAS = frozenset(
    {
        "max_storage_bytes",
        "max_collections",
        "max_vectors_per_collection",
        "api_rate_limit_per_second",
        "max_concurrent_searches",
    }
)
STATUSES: Mapping[str, TenantStatus] = {
    "active": TenantStatus.ACTIVE,
    "suspended": TenantStatus.SUSPENDED,
    "deleted": TenantStatus.DECOMMISSIONED,
}
MAX_NAME_LENGTH = 255
MAX_SHOWN_SLUG = 100
"""Maximum characters shown of an invalid slug; a valid slug has at most 63."""

_HEX = "[0-9A-Fa-f]"
_HYPHENATED = "-".join(f"{_HEX}{{{digits}}}" for digits in (8, 4, 4, 4, 12))
_ID = re.compile(rf"(?:tenant_)?(?:{_HEX}{{32}}|{_HYPHENATED})", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?"
    r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)",
    re.ASCII,
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a manifest, in the terms of 2.0."""

    tenant_id: TenantId
    name: str
    slug: str | None
    """The slug, None if it is absent or invalid."""
    invalid_slug: str | None
    """The invalid slug as text to be shown; None if the slug is absent or valid."""
    status: TenantStatus
    storage_quota_bytes: int | None
    """A quota of None is unlimited: the largest integer."""
    qps_quota: int | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    unknown_fields: tuple[str, ...]
    """Fields that 1.x does not define, such as `quotas.max_shards`, sorted."""


class Fault(NamedTuple):
    """An error in a manifest."""

    field: str | None
    """The field, such as `quotas.max_storage_bytes`; None for the file as a whole."""
    reason: str


class FaultyManifest(Exception):
    """A manifest that cannot be migrated, with all of its faults."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" if field else reason for field, reason in faults))
        self.faults = faults


def read_manifest(body: bytes) -> Manifest | None:
    """Read the bytes of a `.json` file; return None for a JSON document without a `tenant_id`.

    Raises FaultyManifest for malformed JSON, and for an invalid manifest.
    """
    document = _decoded(body)
    if not isinstance(document, dict) or "tenant_id" not in document:
        return None
    reader = _Reader(document)
    manifest = reader.read()
    if reader.faults or manifest is None:
        raise FaultyManifest(reader.faults)
    return manifest


def _decoded(body: bytes) -> Any:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return decode_strict(body, Any)
    except InvalidArgument as error:
        refused = error
    # Strict decoding refuses duplicate keys, which are allowed if the document is not a manifest.
    document = _leniently(body)
    if document is not None:
        if not (isinstance(document, dict) and "tenant_id" in document):
            return document
        if refused.reason != TOO_DEEP:
            try:  # a number that is too large is a fault only in a field that 2.0 uses
                return decode_any_number(body)
            except InvalidArgument as error:
                refused = error
    raise FaultyManifest([Fault(None if refused.field == "body" else refused.field, refused.reason)])


def _leniently(body: bytes) -> Any:
    """Decode a document by JSON's grammar alone; return None if that fails, or for null."""
    try:
        return decode_leniently(body)
    except (ValueError, RecursionError):
        return None


class _Reader:
    """Reads the fields of one manifest and collects its faults."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.faults: list[Fault] = []

    def read(self) -> Manifest | None:
        """Return the manifest, or None if there are faults."""
        document = self._document
        quotas = document.get("quotas")
        if quotas is None:
            quotas = {}
        elif not isinstance(quotas, dict):
            self._refuse("quotas", f"must be an object, not {type_name(quotas)}")
            quotas = {}
        tenant_id = self._tenant_id()
        name = self._name()
        status = self._status()
        storage_quota_bytes = self._quota(quotas, "max_storage_bytes", DEFAULT_STORAGE_QUOTA_BYTES)
        qps_quota = self._quota(quotas, "api_rate_limit_per_second", DEFAULT_QPS_QUOTA)
        metadata = self._metadata()
        created_at, updated_at = self._instant("created_at"), self._instant("updated_at")
        slug = _slug(document.get("slug"))
        if self.faults or tenant_id is None or created_at is None or updated_at is None:
            return None
        return Manifest(
            tenant_id=tenant_id,
            name=name,
            slug=slug,
            invalid_slug=None if slug is not None else _shown_slug(document.get("slug")),
            status=status,
            storage_quota_bytes=storage_quota_bytes,
            qps_quota=qps_quota,
            metadata=metadata,
            created_at=created_at,
            updated_at=updated_at,
            unknown_fields=_unknown(document, quotas),
        )

    def _refuse(self, field: str, reason: str) -> None:
        self.faults.append(Fault(field, reason))

    def _tenant_id(self) -> TenantId | None:
        value = self._document["tenant_id"]
        if isinstance(value, str) and _ID.fullmatch(value):
            return TenantId(bytes.fromhex(value.removeprefix("tenant_").replace("-", "")))
        self._refuse("tenant_id", "must be 32 hex digits or a hyphenated UUID, with or without tenant_")
        return None

    def _name(self) -> str:
        value = self._document.get("name")
        if "name" not in self._document:
            self._refuse("name", "is required")
        elif not isinstance(value, str):
            self._refuse("name", f"must be a string, not {type_name(value)}")
        elif not 1 <= len(value) <= MAX_NAME_LENGTH:
            self._refuse("name", f"must be 1-{MAX_NAME_LENGTH} characters, has {len(value)}")
        elif (reason := text_fault(value)) is not None:
            self._refuse("name", reason)
        else:
            return value
        return ""

    def _status(self) -> TenantStatus:
        value = self._document.get("status")
        if value is None:
            return TenantStatus.ACTIVE
        if not isinstance(value, str) or value not in STATUSES:
            self._refuse("status", f"must be one of {', '.join(STATUSES)}")
            return TenantStatus.ACTIVE
        return STATUSES[value]

    def _quota(self, quotas: dict[str, Any], name: str, default: int) -> int | None:
        value = quotas.get(name)
        if value is None:
            return default
        try:
            return check_quota(value, f"quotas.{name}")
        except InvalidArgument as error:
            self._refuse(error.field, error.reason)
            return default

    def _metadata(self) -> dict[str, Any]:
        value = self._document.get("metadata")
        if value is None:
            return {}
        try:
            return check_object(value, "metadata")
        except InvalidArgument as error:
            self._refuse(error.field, error.reason)
            return {}

    def _instant(self, field: str) -> datetime | None:
        if field not in self._document:
            self._refuse(field, "is required")
            return None
        value = self._document[field]
        if not isinstance(value, str) or not _INSTANT.fullmatch(value):
            self._refuse(field, "must be a time with its offset, such as 2025-03-01T10:00:00Z")
            return None
        try:
            # Digits beyond microseconds are truncated, so that a time never becomes later.
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            self._refuse(field, "is not a valid time between the years 1 and 9999")
            return None


def content_hash(of: Manifest | Tenant, manifest_sha256: bytes) -> bytes:
    """Return the SHA-256 of what is migrated: the content that 2.0 uses, and the manifest's bytes."""
    content = (
        of.tenant_id.raw.hex(),
        of.name,
        of.status,
        limit_of(of.storage_quota_bytes),
        limit_of(of.qps_quota),
        of.metadata,
        of.created_at,
        of.updated_at,
        manifest_sha256,
    )
    return sha256(canonical(content)).digest()


def _slug(value: object) -> str | None:
    try:
        return check_slug(value)
    except InvalidArgument:
        return None


def _shown_slug(value: object) -> str | None:
    """Return an invalid slug as text: a string, truncated if long, a number or a boolean; else its type."""
    if value is None:
        return None
    if not isinstance(value, str):
        return f"({type_name(value)})" if scalar_fault(value) else json.dumps(value)
    return value if len(value) <= MAX_SHOWN_SLUG else f"{value[:MAX_SHOWN_SLUG]}..."


def _unknown(document: dict[str, Any], quotas: dict[str, Any]) -> tuple[str, ...]:
    if document.keys() <= FIELDS and quotas.keys() <= QUOTAS:
        return ()
    found = [member_path("", key) for key in document.keys() - FIELDS]
    found += [member_path("quotas", key) for key in quotas.keys() - QUOTAS]
    return tuple(sorted(found))
