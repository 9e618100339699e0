"""Online check of every store: integrity, and consistency between metadata and tenant stores."""

from collections.abc import Iterator, Sequence
from itertools import islice

from akidb.domain.entities import Collection, Database, Tenant, limit_of
from akidb.domain.errors import AkiDBError, Damaged
from akidb.domain.ids import TenantId
from akidb.domain.upkeep import Finding
from akidb.observe.context import said
from akidb.observe.interrupts import checkpoint
from akidb.ports.archive import RECORDS
from akidb.ports.clock import Clock
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStores
from akidb.services.archive_damage import sound_rows
from akidb.services.store_access import StoreAccess

MAX_NAMED = 100
"""Rows of the metadata that one check names."""


def examine(
    metadata: MetadataStore, stores: StoreAccess, tenant_stores: TenantStores, clock: Clock
) -> Iterator[Finding]:
    """Yield the findings of all checks; changes nothing except finishing work that a crash interrupted."""
    yield _finding("metadata", "integrity", _check_metadata(metadata))
    try:
        with metadata.snapshot() as tx:
            known = tx.stores.list()
            depth = tx.outbox.depth()
    except AkiDBError as error:
        yield _finding("metadata", "stores", [said(error)])
        yield from _not_checked("metadata", "tenant stores", "clock", "outbox", "stray stores")
        return
    for tenant_id, _store_id in known:
        checkpoint()
        integrity = _check_store(stores, tenant_id)
        control = _check_control(metadata, stores, tenant_id)
        if (integrity or control) and not _has_store(metadata, tenant_id):
            continue  # purged meanwhile
        yield _finding(str(tenant_id), "integrity", integrity)
        if integrity and control == integrity:  # it could not be opened
            yield from _not_checked(str(tenant_id), "control row")
        else:
            yield _finding(str(tenant_id), "control row", control)
    doubt = clock.doubt()
    yield Finding(store="metadata", check="clock", ok=True, detail=doubt or "sound")
    pending = f"{depth} {'entry' if depth == 1 else 'entries'} pending"
    yield Finding(store="metadata", check="outbox", ok=True, detail=pending)
    yield _finding("metadata", "stray stores", _stray_stores(metadata, stores, tenant_stores))


def _finding(store: str, check: str, wrong: list[str]) -> Finding:
    return Finding(store=store, check=check, ok=not wrong, detail="; ".join(wrong) or "sound")


def _not_checked(store: str, *checks: str) -> Iterator[Finding]:
    for check in checks:
        detail = "not checked: the store cannot be read"
        yield Finding(store=store, check=check, ok=False, checked=False, detail=detail)


def _check_metadata(metadata: MetadataStore) -> list[str]:
    """Check the store, then each row by the rules of archives: what these refuse, doctor names."""
    found = metadata.check()
    refused: list[Damaged] = []
    try:
        with metadata.snapshot() as tx:
            for table in RECORDS:
                for _sound in sound_rows(tx, table, None, refused.append):
                    checkpoint()
    except AkiDBError as error:
        return found or [said(error)]
    named = [
        f"{error.fields['entity']} {error.fields['id']} cannot be read (its {error.fields['damaged_field']})"
        for error in islice(refused, MAX_NAMED)
    ]
    return [*found, *(each for each in named if each not in found)]


def _check_store(stores: StoreAccess, tenant_id: TenantId) -> list[str]:
    try:
        with stores.existing(tenant_id) as store:
            return [] if store is None else store.check()
    except AkiDBError as error:
        return [said(error)]


def _check_control(metadata: MetadataStore, stores: StoreAccess, tenant_id: TenantId) -> list[str]:
    """Compare the store's control rows with the metadata; entities that change meanwhile are skipped."""
    try:
        before = _read_metadata(metadata, tenant_id)
        stores.apply_pending(tenant_id)
        with stores.existing(tenant_id) as store:
            if store is None:
                return []
            state, controls, told = store.control_state(), store.controls(), store.told()
        after = _read_metadata(metadata, tenant_id)
    except AkiDBError as error:
        return [said(error)]
    if before is None or after is None:  # purged meanwhile
        return []
    found = []
    tenant, collections = before
    if tenant == after[0]:
        found += _difference("the tenant's status", tenant.status, state.tenant_status)
        found += _difference(
            "the storage quota", limit_of(tenant.storage_quota_bytes), state.storage_quota_bytes
        )
        found += _ahead("the tenant's version", tenant.version, state.tenant_version)
    known = {control.collection_id: control for control in controls}
    unchanged = {collection.collection_id: (database, collection) for database, collection in after[1]}
    for pair in collections:
        database, collection = pair
        if unchanged.get(collection.collection_id) != pair:
            continue
        control = known.get(collection.collection_id)
        name = f"collection {collection.collection_id}"
        if control is None:
            found.append(f"{name} is missing from the store")
            continue
        database_id, version = told[collection.collection_id]
        found += _ahead(f"the version of {name}", collection.version, version)
        found += _difference(f"the database of {name}", database.database_id, database_id)
        found += _difference(f"the state of {name}", collection.state, control.state)
        found += _difference(f"the metric of {name}", collection.metric, control.metric)
        if None not in {collection.dimension, control.dimension}:  # the next use makes up for it
            found += _difference(f"the dimension of {name}", collection.dimension, control.dimension)
        found += _difference(f"the database's state of {name}", database.state, control.database_state)
        found += _difference(
            f"max_document_count of {name}", collection.max_document_count, control.max_document_count
        )
    return found


def _difference(what: str, expected: object, actual: object) -> list[str]:
    return [] if expected == actual else [f"{what} is {expected} in the metadata, {actual} in the store"]


def _ahead(what: str, expected: int, actual: object) -> list[str]:
    """Compare versions: a store is not told of every change, so its own may be lower.

    One that is not a number is found by the integrity check.
    """
    return _difference(what, expected, actual) if type(actual) is int and actual > expected else []


def _read_metadata(
    metadata: MetadataStore, tenant_id: TenantId
) -> tuple[Tenant, Sequence[tuple[Database, Collection]]] | None:
    """Return the tenant and its collections, or None if it is purged."""
    with metadata.snapshot() as tx:
        tenant = tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)
        return None if tenant is None else (tenant, tx.collections.states(tenant_id))


def _has_store(metadata: MetadataStore, tenant_id: TenantId) -> bool:
    with metadata.read() as tx:
        return tx.stores.find(tenant_id) is not None


def _stray_stores(metadata: MetadataStore, stores: StoreAccess, tenant_stores: TenantStores) -> list[str]:
    try:
        stores.finish_purges()
        names = tenant_stores.names()
    except AkiDBError as error:
        return [said(error)]
    with metadata.snapshot() as tx:
        known = {str(tenant_id) for tenant_id, _ in tx.stores.list()}
        known |= {str(entry.tenant_id) for entry in tx.outbox.purges()}
    stray = [name for name in names if name not in known and not _removed_as_unused(stores, name)]
    return [_stray(metadata, name) for name in stray]


def _stray(metadata: MetadataStore, name: str) -> str:
    try:
        is_of_tenant = _read_metadata(metadata, TenantId.parse(name)) is not None
    except AkiDBError:  # not a tenant ID, or a damaged tenant
        is_of_tenant = False
    if is_of_tenant:
        return f"the store of tenant {name} is unknown to the metadata, and cannot be used"
    return f"store {name} does not belong to any tenant"


def _removed_as_unused(stores: StoreAccess, name: str) -> bool:
    try:
        return stores.remove_unused(TenantId.parse(name))
    except AkiDBError:  # not a tenant ID, or a damaged file
        return False
