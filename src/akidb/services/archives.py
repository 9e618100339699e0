"""Archives: back up stores as of one instant, export tenants, import them atomically, copy them.

An import creates the store like a new one (`services/store_access.py`): the store is filled before the
metadata refers to it, so a crash leaves an unused file; then one transaction adds the metadata and registers
the store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import IO, Protocol, TypeVar

from msgspec.structs import replace

from akidb.domain.archives import BackupReport, ByteSink, ByteSource, ImportReport
from akidb.domain.entities import Tenant
from akidb.domain.errors import AkiDBError, Damaged, NotFound, Overloaded, StorageFull, Unavailable
from akidb.domain.fields import TenantRef
from akidb.domain.ids import IdGenerator, StoreId, TenantId
from akidb.domain.lifecycle import Access, require
from akidb.operations import archives as ask
from akidb.operations.declare import OPERATIONS
from akidb.ports.answers import RequestKey
from akidb.ports.archive import (
    RECORDS,
    TENANT_TABLES,
    ArchiveFormat,
    ArchiveKind,
    ArchiveReader,
    ArchiveWriter,
    CollectionImage,
    Documents,
    Header,
    Rows,
    StoreImage,
    Tombstones,
)
from akidb.ports.clock import Clock
from akidb.ports.conflicts import ConnectionLost, MachineFailure, TransactionConflict
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStores
from akidb.services.archive_audit import TENANTS_AT_ONCE, Departure, deny, origin, tenants_in
from akidb.services.archive_checks import Contents, check_archive
from akidb.services.archive_conflicts import find_conflicts, is_free_slug, refuse, report_of, taken
from akidb.services.archive_damage import Survey, require_parents, sound_rows
from akidb.services.archive_parts import (
    announce,
    collections_of,
    exists,
    open_archive,
    report_on,
    require_same,
    sound_parts_of,
    write_store,
)
from akidb.services.archive_scratch import ArchiveScratch
from akidb.services.archive_store_checks import (
    agree,
    require_copyable,
    require_sound,
)
from akidb.services.dispatch import handles
from akidb.services.idempotency import KeptValue, expiry, recalled, request_key
from akidb.services.new_ids import NewIds
from akidb.services.purging import DAMAGED
from akidb.services.retries import read_metadata
from akidb.services.store_access import StoreAccess
from akidb.services.tenant_copy import Branch
from akidb.services.transactions import Change, Transactions

T = TypeVar("T")

ROWS_AT_ONCE = 500
NOT_OF_A_STORE = (StorageFull, MachineFailure, ConnectionLost, TransactionConflict)
"""Errors that say nothing of the store in use: another one would have them as well."""


class Turn(Protocol):
    """A fair mutex."""

    def enter(self) -> object:
        """Acquire it. Raises Overloaded on timeout."""

    def leave(self) -> None:
        """Release it."""


class ArchiveService:
    """Implements `akidb.operations.archives`."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        transactions: Transactions,
        stores: StoreAccess,
        tenant_stores: TenantStores,
        ids: IdGenerator,
        clock: Clock,
        scratch: ArchiveScratch,
        format: ArchiveFormat,
        turn: Turn,
        schemas: tuple[str, int],
    ) -> None:
        """Take the collaborators; in a shared database, `turn` allows one image at a time.

        There an image holds one connection of a pool of two or more, and a copy needs a second one: with
        one image at a time a connection is always left.
        """
        self._metadata = metadata
        self._transactions = transactions
        self._stores = stores
        self._tenant_stores = tenant_stores
        self._ids = ids
        self._clock = clock
        self._scratch = scratch
        self._schemas = schemas
        self._format = format
        self._turn = turn

    @handles(ask.CreateBackup)
    def backup(
        self,
        asked: ask.CreateBackup,  # noqa: ARG002 - no fields
        *,
        sink: ByteSink,
    ) -> BackupReport:
        with Departure("backup.create", self._transactions, sink) as target:
            with self._metadata.snapshot() as tx:
                survey = Survey(tx)
            for tenant_id in survey.named():
                deny(self._transactions, tenant_id, "backup.create", DAMAGED)
            announce(sink, survey)
            writer = self._writer(target, "backup")
            begun = self._back_up_stores(writer, target, survey, sink)
            others = survey.tenants - begun
            target.begin(sorted(others, key=lambda tenant_id: tenant_id.raw))
            begun |= others
            with self._metadata.image() as tx:
                new = tenants_in(tx, survey.left_out) - begun
                # Created since; their entries follow, as this holds a connection.
                for table in RECORDS:
                    for rows in survey.rows(tx, table):
                        writer.add(rows)
            target.begin(sorted(new, key=lambda tenant_id: tenant_id.raw))
            left_out = survey.named()
            writer.finish(left_out, survey.rows_left_out)
            return report_on(left_out, survey)

    def _back_up_stores(
        self, writer: ArchiveWriter, target: Departure, survey: Survey, sink: ByteSink
    ) -> set[TenantId]:
        """Write every sound store; return the tenants that were recorded."""
        listed = {
            tenant_id
            for tenant_id, _ in read_metadata(self._metadata, lambda tx: tx.stores.list(lambda _: None))
        }
        # Also stores that the metadata lost.
        names = set(self._tenant_stores.names())
        lost = {each for each in survey.tenants - listed if str(each) in names and self._is_lost(each)}
        known = sorted((listed | lost) - survey.left_out, key=lambda tenant_id: tenant_id.raw)
        for at in range(0, len(known), TENANTS_AT_ONCE):
            some = known[at : at + TENANTS_AT_ONCE]
            target.begin(some)
            for tenant_id in some:
                error = self._back_up_store(writer, tenant_id)
                if error is not None:
                    survey.leave_out(tenant_id, error)
                    deny(self._transactions, tenant_id, "backup.create", error.code)
                    announce(sink, survey)
                target.finish(tenant_id)
        return set(known)

    def _is_lost(self, tenant_id: TenantId) -> bool:
        try:
            return self._tenant_stores.is_used(tenant_id)
        except Unavailable:  # it is there, but cannot be read
            return True

    def _back_up_store(self, writer: ArchiveWriter, tenant_id: TenantId) -> AkiDBError | None:
        """Write a tenant's store; return the error of one that cannot be read, or that a restore refuses.

        It is read once: what was written before the error is passed over by a restore.
        """
        begun = is_writing = False
        try:
            with self._image(tenant_id, patient=True) as image:
                if image is None:
                    return None
                for part in sound_parts_of(self._metadata, tenant_id, image):
                    begun = is_writing = True
                    writer.add(part)
                    is_writing = False
        except (NotFound, Damaged, Unavailable) as error:
            if is_writing or isinstance(error, NOT_OF_A_STORE):
                raise
            if begun or read_metadata(self._metadata, lambda tx: exists(tx, tenant_id)):
                return error  # else it was purged since the list was read
        return None

    @handles(ask.ExportTenant)
    def export(self, asked: ask.ExportTenant, *, sink: ByteSink) -> None:
        action = OPERATIONS[ask.ExportTenant].name
        tenant_id = origin(self._metadata, self._transactions, asked.tenant, action).tenant_id
        with self._image(tenant_id) as image, Departure(action, self._transactions, sink) as target:
            # Read after opening the store and before writing: omits collections purged in between.
            rows = self._rows(tenant_id)
            known = collections_of(rows)
            every = [] if image is None else image.collections()
            found = [each for each in every if each.collection_id in known]
            if image is not None:
                require_sound(tenant_id, image, found, lambda: agree(found, known))
            self._format.require_exportable(rows, len(found))
            target.begin([tenant_id])
            writer = self._writer(target, "tenant")
            if image is not None:
                write_store(writer, tenant_id, image, found)
            for part in rows:
                writer.add(part)
            writer.finish()

    @handles(ask.ImportTenant)
    def import_(self, asked: ask.ImportTenant, *, source: ByteSource) -> ImportReport:
        with self._scratch.seekable(source) as archive:
            start = archive.tell()
            contents = check_archive(self._reader(archive, "tenant"))
            ids = NewIds(self._ids) if asked.new_ids else None
            if ids is not None:
                contents.renew(ids.renewed)
            tenant = contents.tenant if asked.slug is None else replace(contents.tenant, slug=asked.slug)
            contents.rows["tenants"] = [tenant]
            key = request_key(OPERATIONS[ask.ImportTenant], asked, also=contents.digest.hex())
            if not asked.dry_run and (done := self._answered(key, ImportReport)) is not None:
                return done
            with self._tenant_stores.exclusive(tenant.tenant_id):
                with self._metadata.snapshot() as tx:
                    conflicts = find_conflicts(tx, contents)
                report = report_of(contents, conflicts, dry_run=asked.dry_run)
                if asked.dry_run:
                    return report
                refuse(conflicts)
                archive.seek(start)
                with self._whole(tenant.tenant_id):
                    store_id = self._fill(archive, contents, ids)
                    return self._bring_in(contents, store_id, key, report)

    @handles(ask.CopyTenant)
    def copy(self, asked: ask.CopyTenant) -> Tenant:
        key = request_key(OPERATIONS[ask.CopyTenant], asked)
        if (done := self._answered(key, Tenant)) is not None:
            return done
        action = OPERATIONS[ask.CopyTenant].name
        tenant_id = origin(self._metadata, self._transactions, asked.tenant, action).tenant_id
        with self._metadata.read() as tx:
            refuse([] if is_free_slug(tx, asked.slug) else [taken("slug", asked.slug)])
        with self._image(tenant_id) as image:
            rows = self._rows(tenant_id)
            branch = Branch(rows, self._ids, asked.slug, asked.name, self._clock.now())
            with self._tenant_stores.exclusive(branch.tenant_id), self._whole(branch.tenant_id):
                store_id = None if image is None else self._ids.new(StoreId)
                if image is not None and store_id is not None:
                    require_copyable(tenant_id, image, collections_of(rows))
                    renamed = branch.renamed(image.collections())
                    self._tenant_stores.branch(branch.tenant_id, store_id, image, renamed)
                return self._bring_in_copy(asked.tenant, branch, store_id, key)

    def _writer(self, target: ByteSink, kind: ArchiveKind) -> ArchiveWriter:
        metadata_schema, documents_schema = self._schemas
        header = Header(
            kind=kind,
            akidb=version("akidb"),
            metadata_schema=metadata_schema,
            documents_schema=documents_schema,
            created_at=self._clock.now(),
        )
        return self._format.writer(target, header)

    def _reader(self, archive: IO[bytes], kind: ArchiveKind) -> ArchiveReader:
        return open_archive(self._format, archive, kind, self._scratch.room_bytes(), self._schemas)

    @contextmanager
    def _image(self, tenant_id: TenantId, *, patient: bool = False) -> Iterator[StoreImage | None]:
        """Yield an image of the tenant's store as of one instant, or None without a store or after a purge.

        Raises Overloaded when other images take too long, unless `patient`.
        """
        with self._in_turn(patient=patient), self._stores.existing(tenant_id) as store:
            if store is None:
                yield None
                return
            with store.image() as image:
                yield image

    @contextmanager
    def _in_turn(self, *, patient: bool) -> Iterator[None]:
        """Serialize images on a shared database, where they hold pooled connections; not needed for files."""
        if self._metadata.generation is not None:
            yield
            return
        while True:
            try:
                self._turn.enter()
                break
            except Overloaded:
                if not patient:
                    raise
        try:
            yield
        finally:
            self._turn.leave()

    @contextmanager
    def _whole(self, tenant_id: TenantId) -> Iterator[None]:
        """Remove a store that the block created if it raises before the metadata registers the store."""
        try:
            yield
        except BaseException:
            self._stores.remove_unused(tenant_id)
            raise

    def _rows(self, tenant_id: TenantId) -> list[Rows]:
        """Read a tenant's metadata rows. Raises NotFound if it is deleted, InvalidState by its status."""
        with self._metadata.snapshot() as tx:
            require(Access.METADATA_READ, tx.tenants.get(tenant_id).status)
            rows = [part for table in TENANT_TABLES for part in sound_rows(tx, table, tenant_id, None)]
        require_parents(rows)
        return rows

    def _answered(self, key: RequestKey | None, kind: type[T]) -> T | None:
        """Return the response stored for this idempotency key."""
        if key is None:
            return None
        known = read_metadata(self._metadata, lambda tx: tx.answers.find(key, expiry(self._clock)))
        return None if known is None else recalled(KeptValue(kind), known, key)

    def _fill(self, archive: IO[bytes], contents: Contents, ids: NewIds | None) -> StoreId | None:
        """Fill the tenant's store from a checked archive; raise if the archive changed since the check."""
        if contents.store_of is None:
            return None
        store_id = self._ids.new(StoreId)
        with self._tenant_stores.filling(contents.tenant.tenant_id, store_id) as filler:
            reader = self._reader(archive, "tenant")
            for part in reader:
                if isinstance(part, CollectionImage):
                    filler.add(part if ids is None else ids.renewed(part))
                elif isinstance(part, Documents | Tombstones):
                    filler.add(part)
            require_same(reader, contents)
        return store_id

    def _bring_in(
        self, contents: Contents, store_id: StoreId | None, key: RequestKey | None, report: ImportReport
    ) -> ImportReport:
        tenant_id = contents.tenant.tenant_id

        def effect(change: Change) -> ImportReport:
            refuse(find_conflicts(change.tx, contents))
            for table in TENANT_TABLES:
                rows = contents.rows[table]
                for at in range(0, len(rows), ROWS_AT_ONCE):
                    change.tx.records.write(Rows(table, rows[at : at + ROWS_AT_ONCE]))
            if store_id is not None:
                change.tx.stores.register(tenant_id, store_id)
                change.add_to_outbox(tenant_id, "tenant", tenant_id)
            change.audit("tenant.import", tenant_id, tenant_id)
            return report

        return self._transactions.run(key, ImportReport, effect)

    def _bring_in_copy(
        self, tenant: TenantRef, branch: Branch, store_id: StoreId | None, key: RequestKey | None
    ) -> Tenant:
        def effect(change: Change) -> Tenant:
            for part in branch.rows:
                change.tx.records.write(part)
            if store_id is not None:
                change.tx.stores.register(branch.tenant_id, store_id)
                change.add_to_outbox(branch.tenant_id, "tenant", branch.tenant_id)
            change.audit("tenant.copy", branch.origin_id, branch.tenant_id)
            change.audit("tenant.copy", branch.tenant_id, branch.origin_id)
            return change.tx.tenants.get(branch.tenant_id)

        return self._transactions.run(key, Tenant, effect, tenant=tenant)
