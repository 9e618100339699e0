"""The way back to 1.x: every tenant as a manifest in a directory, under its old path where it has one."""

import os
from pathlib import Path

from akidb.domain.ids import TenantId
from akidb.domain.manifests import changed_manifest, new_manifest
from akidb.domain.migration import SUFFIX, Progress, ReturnReport, WrittenManifest, shown
from akidb.ports.migration import ExportedTenant, LegacyManifests, ManifestFiles


def write_manifests(
    files: ManifestFiles, store: LegacyManifests, directory: Path, progress: Progress
) -> ReturnReport:
    """Write what the store holds as of now.

    A directory that has files is refused, unless each of them is what would be written there: then a run
    that was broken off goes on.
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
    """Where each tenant goes: no two to one file, also where the file system takes `A` and `a` for one.

    Old paths come first. One that is taken, or that leads out of the directory, is none.
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
    """Take a path, unless it, or a directory on the way to it, is another's file, or the other way round."""
    folded = path.casefold()
    parents = [folded[:at] for at, character in enumerate(folded) if character == "/"]
    if folded in taken or f"{folded}/" in taken or any(parent in taken for parent in parents):
        return False
    taken.add(folded)
    taken.update(f"{parent}/" for parent in parents)
    return True


def _manifest_of(departure: ExportedTenant) -> tuple[bytes, str]:
    """The bytes to write, and where they come from."""
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
