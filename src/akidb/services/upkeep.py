"""Checks and maintenance of the stores on request."""

from akidb.domain.documents import Page
from akidb.domain.upkeep import Finding, MaintenanceReport
from akidb.operations import upkeep as ask
from akidb.ports.clock import Clock
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStores
from akidb.services.dispatch import handles
from akidb.services.doctor import examine
from akidb.services.maintenance import Maintenance
from akidb.services.store_access import StoreAccess


class UpkeepService:
    """Implements `akidb.operations.upkeep`."""

    def __init__(
        self,
        metadata: MetadataStore,
        stores: StoreAccess,
        tenant_stores: TenantStores,
        maintenance: Maintenance,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._stores = stores
        self._tenant_stores = tenant_stores
        self._maintenance = maintenance
        self._clock = clock

    @handles(ask.CheckStores)
    def check(self, asked: ask.CheckStores) -> Page[Finding]:  # noqa: ARG002 - no fields
        return Page(items=list(examine(self._metadata, self._stores, self._tenant_stores, self._clock)))

    @handles(ask.MaintainStores)
    def maintain(self, asked: ask.MaintainStores) -> MaintenanceReport:  # noqa: ARG002 - no fields
        return self._maintenance.run()
