"""Migration back to 1.x: write every tenant as a manifest to a directory, at its old path if it has one."""

import os
from pathlib import Path

from akidb.domain.ids import TenantId
from akidb.domain.manifests import changed_manifest, new_manifest
from akidb.domain.migration import SUFFIX, Progress, ReturnReport, WrittenManifest, shown
from akidb.ports.migration import ExportedTenant, LegacyManifests, ManifestFiles


def write_manifests(
    files: ManifestFiles, store: LegacyManifests, directory: Path, progress: Progress
) -> ReturnReport:
    """Write the manifests of all tenants in the store.

    A non-empty directory is refused unless each of its files equals what would be written there; this
    resumes an interrupted run.
    """
    paths = _paths(files, store)
    out = files.open_output(directory)
    out.refuse_strangers(set(paths.values()))
    if out.existing:
        for departure in store.departures():
            path = paths[departure.tenant.tenant_id]
            if path in out.existing:
                out.refuse_other(path, _manifest_of(departure)[0])
    written = []
    for done, departure in enumerate(store.departures(), start=1):
        body, origin = _manifest_of(departure)
        path = paths[departure.tenant.tenant_id]
        if path not in out.existing:
            out.write(path, body)
        written.append(_reported(departure, path, origin))
        progress("write", done, len(paths))
    out.finish()
    origins = [each.origin for each in written]
    return ReturnReport(
        out=shown(str(directory)),
        unchanged=origins.count("unchanged"),
        changed=origins.count("changed"),
        new=origins.count("new"),
        tenants=written,
    )


def _paths(files: ManifestFiles, store: LegacyManifests) -> dict[TenantId, str]:
    """Choose a unique path for each tenant, also on case-insensitive file systems.

    Old paths take precedence, except those that are taken or lead out of the directory.
    """
    paths: dict[TenantId, str] = {}
    others: list[tuple[TenantId, str]] = []
    taken: set[str] = set()
    for tenant_id, slug, old in store.paths():
        path = None if old is None else os.fsdecode(old)
        if path is not None and files.is_safe(path) and _claim(path, taken):
            paths[tenant_id] = path
        else:
            others.append((tenant_id, slug))
    for tenant_id, slug in others:
        for path in (f"{slug}{SUFFIX}", f"{tenant_id}{SUFFIX}", f"tenants/{tenant_id}{SUFFIX}"):
            if _claim(path, taken):
                paths[tenant_id] = path
                break
    return paths


def _claim(path: str, taken: set[str]) -> bool:
    """Reserve a path; return False if it or one of its parents clashes with a reserved file or directory."""
    folded = path.casefold()
    parents = [folded[:at] for at, character in enumerate(folded) if character == "/"]
    if folded in taken or f"{folded}/" in taken or any(parent in taken for parent in parents):
        return False
    taken.add(folded)
    taken.update(f"{parent}/" for parent in parents)
    return True


def _manifest_of(departure: ExportedTenant) -> tuple[bytes, str]:
    """Return the bytes to write, and their origin."""
    tenant, manifest, _ = departure
    if manifest is None:
        return new_manifest(tenant), "new"
    body = changed_manifest(manifest.manifest, tenant, manifest.slug)
    return body, "unchanged" if body == manifest.manifest else "changed"


def _reported(departure: ExportedTenant, path: str, origin: str) -> WrittenManifest:
    tenant, manifest, databases = departure
    old = None if manifest is None else os.fsdecode(manifest.path)
    return WrittenManifest(
        path=shown(path),
        tenant_id=tenant.tenant_id,
        slug=tenant.slug,
        origin=origin,
        left_behind=databases,
        moved_from=None if old is None or old == path else shown(old),
    )
