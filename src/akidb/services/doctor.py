"""Looks at every store while others work: whether each is sound, and whether the two kinds agree."""

from collections.abc import Iterator
from pathlib import Path

from akidb.domain.errors import AkiDBError
from akidb.domain.ids import TenantId
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import Finding
from akidb.services.stores import StoreAccess


def examine(metadata: MetadataStore, stores: StoreAccess, tenants_directory: Path) -> Iterator[Finding]:
    """What was looked at, and what was found; nothing is changed but what a crash had left undone."""
    yield _finding("metadata", "integrity", metadata.check())
    with metadata.snapshot() as tx:
        known = tx.stores.list()
        depth = tx.outbox.depth()
    for tenant_id, _store_id in known:
        integrity = _check_store(stores, tenant_id)
        control = _check_control(metadata, stores, tenant_id)
        if (integrity or control) and not _has_store(metadata, tenant_id):
            continue  # purged meanwhile
        yield _finding(str(tenant_id), "integrity", integrity)
        yield _finding(str(tenant_id), "control row", control)
    yield Finding(store="metadata", check="outbox", ok=True, detail=f"{depth} entries were waiting")
    yield _finding("metadata", "stray files", _stray_files(metadata, stores, tenants_directory))


def _finding(store: str, check: str, wrong: list[str]) -> Finding:
    return Finding(store=store, check=check, ok=not wrong, detail="; ".join(wrong) or "sound")


def _check_store(stores: StoreAccess, tenant_id: TenantId) -> list[str]:
    try:
        with stores.existing(tenant_id) as store:
            return [] if store is None else store.check()
    except AkiDBError as error:
        return [error.message]


def _check_control(metadata: MetadataStore, stores: StoreAccess, tenant_id: TenantId) -> list[str]:
    """Whether the store follows the metadata: once settled it is no older than what was read before."""
    with metadata.read() as tx:
        tenant = tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)
    if tenant is None:  # purged meanwhile
        return []
    try:
        stores.settle(tenant_id)
        with stores.existing(tenant_id) as store:
            state = None if store is None else store.control_state()
    except AkiDBError as error:
        return [error.message]
    if state is None or state.tenant_version > tenant.version:
        return []
    found = []
    if state.tenant_status != tenant.status:
        found.append(f"the tenant is {tenant.status}, its store says {state.tenant_status}")
    if state.storage_quota_bytes != tenant.storage_quota_bytes:
        found.append(
            f"the storage quota is {tenant.storage_quota_bytes}, its store says {state.storage_quota_bytes}"
        )
    return found


def _has_store(metadata: MetadataStore, tenant_id: TenantId) -> bool:
    with metadata.read() as tx:
        return tx.stores.find(tenant_id) is not None


def _stray_files(metadata: MetadataStore, stores: StoreAccess, directory: Path) -> list[str]:
    try:
        stores.finish_purges()
    except AkiDBError as error:
        return [error.message]
    names = sorted(path.stem for path in directory.glob("*.db"))
    with metadata.snapshot() as tx:
        known = {str(tenant_id) for tenant_id, _ in tx.stores.list()}
        known |= {str(entry.tenant_id) for entry in tx.outbox.purges()}
    stray = [name for name in names if name not in known and not _removed_as_unused(stores, name)]
    return [f"tenants/{name}.db belongs to no tenant" for name in stray]


def _removed_as_unused(stores: StoreAccess, name: str) -> bool:
    try:
        return stores.remove_unused(TenantId.parse(name))
    except AkiDBError:  # no tenant's name, or a damaged file
        return False
