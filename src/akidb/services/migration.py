"""Migration of tenants from AkiDB 1.x, and back.

A migration from 1.x is one transaction: plan, write, read back, commit. A migration back only writes files.
Both work on local files, so they run in the process that owns the data and are not available over HTTP.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from msgspec.structs import replace

from akidb.domain.entities import AuditEntry, Database, Tenant
from akidb.domain.errors import Internal, Unavailable
from akidb.domain.ids import AuditEntryId, DatabaseId, IdGenerator, TenantId
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.manifests import Manifest, content_hash
from akidb.domain.migration import (
    FaultyManifests,
    ManifestConflicts,
    MigrationReport,
    Outcome,
    Progress,
    ReturnReport,
    Verification,
    shown,
)
from akidb.observe import context
from akidb.operations import migration as ask
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.migration import (
    DEFAULT_DATABASE,
    ImportedTenant,
    LegacyManifest,
    LegacyManifests,
    ManifestFiles,
)
from akidb.services.dispatch import handles
from akidb.services.migration_plan import (
    ManifestSource,
    Step,
    decide,
    parts,
    read_again,
    read_source,
    report_of,
)
from akidb.services.retries import retried
from akidb.services.store_access import StoreAccess

ACTION = "tenant.migrate"
"""The audit action."""


class MigrationService:
    """Implements `akidb.operations.migration`."""

    def __init__(
        self,
        metadata: MetadataStore,
        stores: StoreAccess,
        files: ManifestFiles,
        ids: IdGenerator,
        now: Callable[[], datetime],
    ) -> None:
        self._metadata = metadata
        self._stores = stores
        self._files = files
        self._ids = ids
        self._now = now

    @handles(ask.MigrateV1ToV2)
    def v1_to_v2(
        self,
        asked: ask.MigrateV1ToV2,
        *,
        source: ManifestSource | None = None,
        progress: Progress | None = None,
    ) -> MigrationReport:
        show = progress or _no_progress
        if source is None:
            source = read_source(self._files, Path(asked.v1_data_dir), show)
        if asked.dry_run:
            with self._metadata.snapshot() as tx:
                return planned(source, tx.legacy_manifests, overwrite=asked.overwrite)
        refuse_faults(source, dry_run=False)
        return self._carry_out(source, overwrite=asked.overwrite, progress=show)

    @handles(ask.MigrateV2ToV1)
    def v2_to_v1(self, asked: ask.MigrateV2ToV1, *, progress: Progress | None = None) -> ReturnReport:
        from akidb.services.migration_back import write_manifests

        with self._metadata.snapshot() as tx:
            return write_manifests(
                self._files, tx.legacy_manifests, Path(asked.out), progress or _no_progress
            )

    def _moment(self, store: LegacyManifests) -> datetime:
        """Return a unique time for this migration, which identifies its rows even if the clock went back."""
        now, last = self._now(), store.last_migrated_at()
        return now if last is None or now > last else last + timedelta(microseconds=1)

    def _carry_out(self, source: ManifestSource, *, overwrite: bool, progress: Progress) -> MigrationReport:
        told, verification = retried(lambda: self._write(source, overwrite, progress), "metadata")
        try:
            for tenant_id in told:  # mark all before applying: applying one may fail
                self._stores.mark_stale(tenant_id)
            for tenant_id in told:
                self._stores.apply_pending(tenant_id)
        finally:
            for tenant_id in told:
                self._stores.end_change(tenant_id)
        return report_of(source, dry_run=False, decided=True, verification=verification)

    def _write(
        self, source: ManifestSource, overwrite: bool, progress: Progress
    ) -> tuple[list[TenantId], Verification | None]:
        """Run the transaction, deciding again on retry; return the tenants with pending outbox entries."""
        told: list[TenantId] = []
        announced: list[TenantId] = []
        try:
            with self._metadata.transaction() as tx:
                tx.legacy_manifests.hold()
                now = self._moment(tx.legacy_manifests)
                decide(source.steps, tx.legacy_manifests, overwrite=overwrite)
                refuse_conflicts(source, dry_run=False)
                steps = [step for step in source.steps if _writes(step)]
                if not steps:
                    return told, None
                writing = _Writing(tx, self._ids, now, source)
                before = tx.legacy_manifests.count_tenants()
                told = writing.write(steps, progress)
                added = sum(step.outcome is Outcome.CREATED for step in steps)
                verification = _verify(tx.legacy_manifests, steps, now, before + added, progress)
                for tenant_id in told:
                    self._stores.begin_change(tenant_id)
                    announced.append(tenant_id)
        except BaseException:
            for tenant_id in announced:
                self._stores.end_change(tenant_id)
            for tenant_id in told:  # an interrupt may arrive after the commit
                self._stores.mark_stale(tenant_id)
            raise
        return told, verification


def planned(source: ManifestSource, store: LegacyManifests, *, overwrite: bool) -> MigrationReport:
    """Return the report of a dry run; raise the same errors as the migration."""
    refuse_faults(source, dry_run=True)
    decide(source.steps, store, overwrite=overwrite)
    refuse_conflicts(source, dry_run=True)
    return report_of(source, dry_run=True, decided=True)


def refuse_faults(source: ManifestSource, *, dry_run: bool) -> None:
    """Raise FaultyManifests if any file is invalid."""
    if source.faults:
        raise FaultyManifests(report_of(source, dry_run=dry_run, decided=False))


def refuse_conflicts(source: ManifestSource, *, dry_run: bool) -> None:
    """Raise ManifestConflicts if a manifest differs from its tenant and `overwrite` is off."""
    if any(step.outcome is Outcome.CONFLICT for step in source.steps):
        raise ManifestConflicts(report_of(source, dry_run=dry_run, decided=True))


class _Writing:
    """Writes the steps of a plan in one transaction."""

    def __init__(
        self, tx: MetadataTransaction, ids: IdGenerator, now: datetime, source: ManifestSource
    ) -> None:
        self._tx = tx
        self._ids = ids
        self._now = now
        self._source = source
        self._request = context.current()

    def write(self, steps: Sequence[Step], progress: Progress) -> list[TenantId]:
        """Write the steps; return the tenants with pending outbox entries."""
        told = []
        done = 0
        for part in parts(steps):
            new = []
            for step in part:
                arrival = self._arrival(step)
                if step.outcome is Outcome.CREATED:
                    new.append(arrival)
                elif self._replace(arrival):
                    told.append(step.tenant_id)
            self._tx.legacy_manifests.add(new)
            done += len(part)
            progress("write", done, len(steps))
        return told

    def _arrival(self, step: Step) -> ImportedTenant:
        again = read_again(self._source, step)
        if again is None:
            raise Unavailable(f"{shown(step.path)} changed meanwhile; nothing was migrated, run it again")
        manifest, body = again
        assert step.slug is not None
        record = LegacyManifest(
            tenant_id=step.tenant_id,
            path=os.fsencode(step.path),
            manifest=body,
            sha256=step.sha256,
            slug=step.slug,
            migrated_at=self._now,
        )
        tenant = _tenant_of(manifest, step.slug, self._now)
        return ImportedTenant(
            tenant, self._default_database(step.tenant_id), record, self._entry(step.tenant_id)
        )

    def _replace(self, arrival: ImportedTenant) -> bool:
        """Overwrite the existing tenant; return whether it has a store."""
        tenant_id = arrival.tenant.tenant_id
        there = self._tx.tenants.find(tenant_id) or self._tx.tenants.get(tenant_id, deleted=True)
        kept = {name: getattr(there, name) for name in ("external_id", "memory_quota_bytes", "placement")}
        tenant = replace(arrival.tenant, version=there.version + 1, **kept)
        self._tx.legacy_manifests.replace(arrival._replace(tenant=tenant))
        if self._tx.stores.find(tenant_id) is None:
            return False
        self._tx.outbox.add(tenant_id, "tenant", tenant_id)
        return True

    def _default_database(self, tenant_id: TenantId) -> Database:
        return Database(
            database_id=self._ids.new(DatabaseId),
            tenant_id=tenant_id,
            name=DEFAULT_DATABASE,
            state=DatabaseState.READY,
            created_at=self._now,
            updated_at=self._now,
        )

    def _entry(self, tenant_id: TenantId) -> AuditEntry:
        return AuditEntry(
            audit_entry_id=self._ids.new(AuditEntryId),
            tenant_id=tenant_id,
            action=ACTION,
            resource_type=TenantId.entity,
            resource_id=str(tenant_id),
            request_id=self._request.request_id,
            created_at=self._now,
        )


def _verify(
    store: LegacyManifests, steps: Sequence[Step], now: datetime, tenants: int, progress: Progress
) -> Verification:
    """Read back the written rows, and compare counts and contents. Raises Internal on a difference."""
    done = 0
    for found, step in zip_longest(store.written(now), steps):
        if found is None or step is None:
            raise Internal("stored and written manifests differ in number; nothing was migrated")
        tenant, manifest = found
        same = content_hash(tenant, manifest.sha256) == step.content_hash
        if not same or tenant.tenant_id != step.tenant_id or tenant.slug != step.slug:
            raise Internal(f"{shown(step.path)} was not stored unchanged; nothing was migrated")
        if sha256(manifest.manifest).digest() != step.sha256 or os.fsdecode(manifest.path) != step.path:
            raise Internal(f"the bytes of {shown(step.path)} were not stored; nothing was migrated")
        done += 1
        progress("verify", done, len(steps))
    stored = store.count_tenants()
    if stored != tenants:
        raise Internal(f"found {stored} tenants, expected {tenants}; nothing was migrated")
    databases, new = store.count_databases(now)
    created = sum(step.outcome is Outcome.CREATED for step in steps)
    if new < created:
        raise Internal(f"{created - new} databases are missing; nothing was migrated")
    return Verification(tenants=len(steps), databases=databases, manifests=done)


def _tenant_of(manifest: Manifest, slug: str, now: datetime) -> Tenant:
    return Tenant(
        tenant_id=manifest.tenant_id,
        name=manifest.name,
        slug=slug,
        status=manifest.status,
        storage_quota_bytes=manifest.storage_quota_bytes,
        qps_quota=manifest.qps_quota,
        metadata=manifest.metadata,
        created_at=manifest.created_at,
        updated_at=manifest.updated_at,
        deleted_at=now if manifest.status is TenantStatus.DECOMMISSIONED else None,
    )


def _writes(step: Step) -> bool:
    return step.outcome in {Outcome.CREATED, Outcome.OVERWRITTEN}


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    pass
