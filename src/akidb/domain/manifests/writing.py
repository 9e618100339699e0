"""Writes a tenant as a 1.x manifest: the original bytes, with the changed members replaced.

A changed member is replaced in place; all other bytes of the manifest are kept.
"""

import codecs
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from akidb.domain.entities import Tenant, limit_of
from akidb.domain.json import canonical
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.manifests.reading import Manifest, read_manifest

STATUSES = {
    TenantStatus.ACTIVE: "active",
    TenantStatus.SUSPENDED: "suspended",
    TenantStatus.DECOMMISSIONED: "deleted",
    TenantStatus.PROVISIONING: "suspended",  # 1.x has no status for tenants that cannot be used yet
}
_QUOTAS = {"max_storage_bytes": "storage_quota_bytes", "api_rate_limit_per_second": "qps_quota"}
_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder(parse_int=str)  # of any length: only the end of a number is needed


def new_manifest(tenant: Tenant) -> bytes:
    """Return the manifest of a tenant that was created in 2.0."""
    document = {
        "tenant_id": f"tenant_{tenant.tenant_id.raw.hex()}",
        "name": tenant.name,
        "slug": tenant.slug,
        "status": STATUSES[tenant.status],
        "created_at": _instant(tenant.created_at),
        "updated_at": _instant(tenant.updated_at),
        "quotas": {name: limit_of(getattr(tenant, field)) for name, field in _QUOTAS.items()},
        "metadata": tenant.metadata,
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def changed_manifest(body: bytes, tenant: Tenant, slug: str) -> bytes:
    """Return a tenant's original manifest with its current values; the same bytes if nothing changed.

    `slug` is the slug that the migration assigned.
    """
    manifest = read_manifest(body)
    if manifest is None:
        raise ValueError("not a manifest")
    changes = _changes(manifest, tenant, slug)
    if not changes:
        return body
    text = body.decode()
    mark = codecs.BOM_UTF8.decode()
    start = len(mark) if text.startswith(mark) else 0
    return (text[:start] + _replaced(text[start:], changes)).encode()


def _changes(manifest: Manifest, tenant: Tenant, slug: str) -> dict[str, Any]:
    """Return the members that must change, those of `quotas` in a separate object."""
    changes: dict[str, Any] = {}
    if tenant.name != manifest.name:
        changes["name"] = tenant.name
    if tenant.slug != slug:
        changes["slug"] = tenant.slug
    if STATUSES[tenant.status] != STATUSES[manifest.status]:
        changes["status"] = STATUSES[tenant.status]
    for field in ("created_at", "updated_at"):
        if getattr(tenant, field) != getattr(manifest, field):
            changes[field] = _instant(getattr(tenant, field))
    quotas = _Quotas(
        (name, limit_of(getattr(tenant, field)))
        for name, field in _QUOTAS.items()
        if getattr(tenant, field) != getattr(manifest, field)
    )
    if quotas:
        changes["quotas"] = quotas
    # Compared as JSON, since Python treats 1 and True as equal.
    if canonical(tenant.metadata) != canonical(manifest.metadata):
        changes["metadata"] = tenant.metadata
    return changes


class _Quotas(dict[str, int]):
    """The quotas that changed; the others are kept."""


class _Member(NamedTuple):
    """The position of a member of an object in its text."""

    key: str
    start: int
    colon: int
    """The end of its key."""
    value: int
    end: int


def _replaced(text: str, changes: dict[str, Any]) -> str:
    """Return an object's text with these members changed; missing ones are appended."""
    members = list(_members(text))
    missing = {key: value for key, value in changes.items() if key not in {each.key for each in members}}
    if not members:
        return json.dumps(missing, ensure_ascii=False)
    # Appends first, then replaces from last to first, so that no position shifts before it is used.
    first, after, last = members[0], members[min(1, len(members) - 1)], members[-1]
    space = text[text.rfind(",", 0, after.start) + 1 : after.start] if after is not first else " "
    colon = text[first.colon : first.value]
    added = "".join(
        f",{space}{json.dumps(key)}{colon}{_written(value, '{}')}" for key, value in missing.items()
    )
    text = text[: last.end] + added + text[last.end :]
    for key, _, _, value, end in reversed(members):
        if key in changes:
            text = text[:value] + _written(changes[key], text[value:end]) + text[end:]
    return text


def _members(text: str) -> Iterator[_Member]:
    at = _skipped(text, 0) + 1
    while text[at := _skipped(text, at)] != "}":
        start = at = _skipped(text, at + 1) if text[at] == "," else at
        key, colon = _decoder.raw_decode(text, start)
        value = _skipped(text, _skipped(text, colon) + 1)
        _, at = _decoder.raw_decode(text, value)
        yield _Member(key, start, colon, value, at)


def _written(value: Any, before: str) -> str:
    """Return the text of a new value that replaces another."""
    if isinstance(value, _Quotas) and before.startswith("{"):
        return _replaced(before, value)
    return json.dumps(value, ensure_ascii=False)


def _skipped(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
