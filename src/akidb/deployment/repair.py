"""Repairs of the tenant stores of a data directory that cannot be opened, for `akidb doctor --repair`.

A store becomes unusable if its file and the metadata disagree, as after two processes owned the directory, or
if the file is missing or damaged. No repair deletes a file: one that cannot be used is moved to the copies.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from akidb.documents.rebuild import damage, dimensions, fill_checksums, kept_twice, rebuild, unchecked
from akidb.documents.repair import StoreFile, is_sound_without_log, owner_without_log, read_store_file
from akidb.domain.errors import Damaged, InvalidArgument, Unavailable
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.names import MAX_INTEGER
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.stores import TenantStores
from akidb.services.store_access import is_behind
from akidb.services.transactions import Change
from akidb.sql.errors import is_damage
from akidb.sql.schema_backups import SchemaBackups

OPERATION = "store.repair"
"""Its name in the audit and in metrics. It has no row in the table: it needs the directory for itself."""

Kind = Literal[
    "adopt", "adopt_without_log", "set_aside", "forget", "rebuild", "fill_checksums", "recall", "leave"
]


class Repair(msgspec.Struct, kw_only=True, frozen=True):
    """One repair."""

    store: str
    """The tenant's ID, or the name of a file that is not a store."""
    problem: str
    kind: Kind
    """`leave`: it is only reported."""
    action: str
    """What is done, in words."""


class Recalled(NamedTuple):
    """A value of a collection that the metadata lost and its store has."""

    collection_id: CollectionId
    field: str
    value: Any


class Repairing:
    """The repairs of one open directory."""

    def __init__(
        self,
        metadata: MetadataStore,
        stores: TenantStores,
        directory: Path,
        copies: SchemaBackups,
        change: Callable[[], Change],
    ) -> None:
        """Take the open stores; `directory` is that of the tenants' files, `change` makes a new change."""
        self._metadata = metadata
        self._stores = stores
        self._directory = directory
        self._copies = copies
        self._change = change

    def plan(self) -> list[Repair]:
        """Return the repairs that are needed; changes nothing.

        Raises Unavailable for a store that cannot be read for a reason other than damage.
        """
        return [*self._of_registered(), *self._of_strays()]

    def carry_out(self, repairs: Sequence[Repair]) -> None:
        """Carry out planned repairs. Each is durable before the next, so that this can be repeated."""
        for repair in repairs:
            if repair.kind == "leave":
                continue
            if repair.kind == "set_aside" and not _is_id(repair.store):
                self._copies.set_aside(self._path(repair.store))
                continue
            tenant_id = TenantId.parse(repair.store)
            with self._stores.exclusive(tenant_id):
                self._repair(tenant_id, repair.kind)

    def _of_registered(self) -> Iterator[Repair]:
        with self._metadata.snapshot() as tx:
            known = tx.stores.list()
        for tenant_id, store_id in known:
            path = self._path(str(tenant_id))
            with self._stores.exclusive(tenant_id):
                owner = owner_without_log(path)
                found = read_store_file(path)
            if found is None:
                yield Repair(
                    store=str(tenant_id),
                    problem="the file is missing or empty",
                    kind="forget",
                    action="begin with an empty store; to keep its documents, put the file back instead",
                )
            elif owner is not None and owner != tenant_id:
                yield Repair(
                    store=str(tenant_id),
                    problem=f"the file is the store of tenant {owner}, beside it is a log (-wal)",
                    kind="set_aside",
                    action=f"move both to {self._copies.directory.name}, and begin with an empty store",
                )
            elif found.store_id != store_id and is_sound_without_log(path):
                yield Repair(
                    store=str(tenant_id),
                    problem="the log (-wal) beside the file belongs to another state of it",
                    kind="adopt_without_log",
                    action=f"move the log, with a copy of the file, to {self._copies.directory.name},"
                    " and use the file as the tenant's store",
                )
            elif found.fault is not None or found.tenant_id != tenant_id:
                yield Repair(
                    store=str(tenant_id),
                    problem=found.fault or f"the file is the store of tenant {found.tenant_id}",
                    kind="set_aside",
                    action=f"move the file to {self._copies.directory.name}, and begin with an empty store",
                )
            elif found.store_id != store_id:
                yield Repair(
                    store=str(tenant_id),
                    problem=f"the file is not the store named in the metadata; it holds {_count(found)}",
                    kind="adopt",
                    action="use the file as the tenant's store",
                )
            elif self._is_behind(tenant_id, found):
                yield Repair(
                    store=str(tenant_id),
                    problem=f"file or log (-wal) is older than the metadata; it holds {_count(found)}",
                    kind="adopt",
                    action="go on with what the file has; to keep the rest, put file and log back instead",
                )

            else:
                yield from self._of_rows(tenant_id, found)

    def _of_rows(self, tenant_id: TenantId, found: StoreFile) -> Iterator[Repair]:
        """Yield the repairs within a store that can be opened."""
        path = self._path(str(tenant_id))
        try:
            with self._metadata.snapshot() as tx:
                tenant = tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)
                collections = tx.collections.all_of_tenant(tenant_id)
                pending = tx.outbox.pending(tenant_id)
        except Damaged as error:
            yield self._of_metadata(tenant_id, error)
            return
        if tenant is None or (pending and not found.is_damaged):  # it has yet to be told something
            return
        try:
            with self._stores.exclusive(tenant_id):
                wrong = damage(path, tenant, collections)
                bare = unchecked(path)
        except Unavailable as error:
            if not is_damage(error):
                raise
            yield Repair(
                store=str(tenant_id),
                problem=error.message,
                kind="leave",
                action="leave it as it is; put an undamaged copy of the file there, or restore a backup",
            )
            return
        if wrong.undecided:
            yield Repair(
                store=str(tenant_id),
                problem="; ".join(wrong.undecided),
                kind="leave",
                action="leave it as it is",
            )
        if wrong.repairable:
            yield Repair(
                store=str(tenant_id),
                problem="; ".join(wrong.repairable),
                kind="rebuild",
                action="write its states and counters anew, from the metadata and its documents (a dimension"
                " that its vectors do not have in the metadata too), and discard damaged deletions (readers"
                " of change feeds start over) and stored responses",
            )
        if bare:
            yield Repair(
                store=str(tenant_id),
                problem=f"{bare} documents of an older version have no checksums",
                kind="fill_checksums",
                action="compute them; damage that is there already is not found then",
            )

    def _of_metadata(self, tenant_id: TenantId, error: Damaged) -> Repair:
        """Return the repair of the metadata of a tenant, of which a row cannot be read."""
        with self._stores.exclusive(tenant_id):
            found = _recalled(error, self._path(str(tenant_id)))
        if found is None:
            kind: Kind = "leave"
            action = "leave its store as it is"
        else:
            kind = "recall"
            action = f"take the {found.field} of the collection, which is {found.value}, from its store"
        return Repair(store=str(tenant_id), problem=error.message, kind=kind, action=action)

    def _is_behind(self, tenant_id: TenantId, found: StoreFile) -> bool:
        with self._metadata.snapshot() as tx:
            try:
                tenant = tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)
            except Damaged:  # reported with its rows
                return False
            if tenant is None or found.state is None or tx.outbox.pending(tenant_id):
                return False
            number = tx.collections.number_of_tenant(tenant_id)
            return is_behind(tenant, number, found.state, found.collections)

    def _of_strays(self) -> Iterator[Repair]:
        with self._metadata.snapshot() as tx:
            known = {str(tenant_id) for tenant_id, _ in tx.stores.list()}
            known |= {str(entry.tenant_id) for entry in tx.outbox.purges()}
        for name in self._stores.names():
            if name in known:
                continue
            if _is_id(name):
                tenant_id = TenantId.parse(name)
                with self._stores.exclusive(tenant_id):
                    found = read_store_file(self._path(name))
                if found is None:  # left by a crash; doctor removes it
                    continue
                if found.fault is None and found.tenant_id == tenant_id and self._has_tenant(tenant_id):
                    yield Repair(
                        store=name,
                        problem=f"the metadata names no store of this tenant; the file holds {_count(found)}",
                        kind="adopt",
                        action="use the file as the tenant's store",
                    )
                    continue
            yield Repair(
                store=name,
                problem="the file does not belong to any tenant",
                kind="set_aside",
                action=f"move the file to {self._copies.directory.name}",
            )

    def _repair(self, tenant_id: TenantId, kind: Kind) -> None:
        path = self._path(str(tenant_id))
        if kind == "rebuild":
            self._rebuild(tenant_id, path)
            return
        if kind == "fill_checksums":
            fill_checksums(path)
            return
        if kind == "recall":
            self._recall(tenant_id, path)
            return
        if kind == "set_aside":
            self._copies.set_aside(path)
        store_id: StoreId | None = None
        if kind == "adopt_without_log":
            self._copies.set_log_aside(path)
        elif kind == "adopt":
            self._copies.keep_log(path)  # SQLite drops what it cannot read of it
        if kind in {"adopt", "adopt_without_log"}:
            found = read_store_file(path)
            if found is None or found.tenant_id != tenant_id:
                raise Unavailable(f"{path.name} has changed since it was looked at; run the command again")
            store_id = found.store_id
        change = self._change()
        with self._metadata.transaction() as tx:
            change.tx = tx
            change.audit(OPERATION, tenant_id, tenant_id, reason=kind)
            tx.stores.forget(tenant_id)
            if store_id is None:
                tx.outbox.remove(tenant_id, MAX_INTEGER)
            else:
                tx.stores.register(tenant_id, store_id)
                _tell_everything(tx, tenant_id)

    def _rebuild(self, tenant_id: TenantId, path: Path) -> None:
        change = self._change()
        with self._metadata.transaction() as tx:
            change.tx = tx
            change.audit(OPERATION, tenant_id, tenant_id, reason="rebuild")
            tenant = tx.tenants.find(tenant_id) or tx.tenants.get(tenant_id, deleted=True)
            told = dimensions(path)
            for _, collection in tx.collections.all_of_tenant(tenant_id):
                dimension = told.get(collection.collection_id.raw, collection.dimension)
                if dimension != collection.dimension:  # the metadata are what is damaged
                    tx.collections.update(collection.changed(change.now, dimension=dimension))
            collections = tx.collections.all_of_tenant(tenant_id)
        rebuild(path, tenant, collections)

    def _recall(self, tenant_id: TenantId, path: Path) -> None:
        """Write what the metadata of collections lost, as far as the store has it."""
        change = self._change()
        with self._metadata.transaction() as tx:
            change.tx = tx
            change.audit(OPERATION, tenant_id, tenant_id, reason="recall")
            written: set[tuple[CollectionId, str]] = set()
            while True:
                found = _lost(tx, tenant_id, path)
                if found is None or found[:2] in written:
                    return
                tx.records.mend(tenant_id, *found)
                written.add(found[:2])

    def _has_tenant(self, tenant_id: TenantId) -> bool:
        with self._metadata.read() as tx:
            try:
                return (tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)) is not None
            except Damaged:
                return True

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.db"


def _tell_everything(tx: MetadataTransaction, tenant_id: TenantId) -> None:
    """Add outbox entries for all states of a tenant; the store may have missed any change."""
    tx.outbox.add(tenant_id, "tenant", tenant_id)
    for database_id in {database.database_id for database, _ in tx.collections.all_of_tenant(tenant_id)}:
        tx.outbox.add(tenant_id, "database", database_id)


def _lost(tx: MetadataTransaction, tenant_id: TenantId, path: Path) -> Recalled | None:
    """Return the first value that the metadata of a tenant's collections lost, if its store has it."""
    try:
        tx.collections.all_of_tenant(tenant_id)
    except Damaged as error:
        return _recalled(error, path)
    return None


def _recalled(error: Damaged, path: Path) -> Recalled | None:
    """Return the value that could not be read from the metadata, from the store; None if it is not there."""
    id, field = error.fields.get("id"), error.fields.get("damaged_field")
    if error.fields.get("entity") != "collection" or not _is_id(str(id)) or field is None:
        return None
    collection_id = CollectionId.parse(str(id))
    known = kept_twice(path, collection_id)
    return Recalled(collection_id, field, known[field]) if field in known else None


def _is_id(name: str) -> bool:
    try:
        TenantId.parse(name)
    except InvalidArgument:
        return False
    return True


def _count(found: StoreFile) -> str:
    return "1 document" if found.documents == 1 else f"{found.documents:,} documents"
