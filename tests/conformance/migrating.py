"""Helpers for migration tests: a manifest directory and the migration service on a store."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from samples import Clock

from akidb.domain.entities import Database, Tenant
from akidb.domain.ids import IdGenerator, TenantId
from akidb.domain.migration import MigratedTenant, MigrationReport, Progress, ReturnReport
from akidb.legacy import LegacyFiles
from akidb.operations.declare import OPERATIONS, Request
from akidb.operations.migration import MigrateV1ToV2, MigrateV2ToV1
from akidb.ports.metadata import MetadataStore
from akidb.services.migration import MigrationService

SAMPLES = Path(__file__).parents[1] / "data/v1-manifests"
RequestT = TypeVar("RequestT", bound=Request[Any])
TIME = "2025-03-01T10:00:00Z"


def tenant_id(number: int) -> TenantId:
    """IDs in the order of their numbers."""
    return TenantId(number.to_bytes(16, "big"))


class Source:
    """A directory of manifests that a test writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def put(self, number: int, name: str, *, path: str | None = None, **fields: Any) -> Path:
        """Write a manifest."""
        document = {
            "tenant_id": tenant_id(number).raw.hex(),
            "name": name,
            "created_at": TIME,
            "updated_at": TIME,
        }
        target = self.directory / (path or f"{number}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({**document, **fields}))
        return target


class Migration:
    """The service on a store, and what is in the store."""

    def __init__(self, metadata: MetadataStore, ids: IdGenerator, clock: Clock, source: Source) -> None:
        nothing: Any = None  # no tenant here has a store
        self.service = MigrationService(metadata, nothing, LegacyFiles(), ids, lambda: clock.now)
        self.metadata = metadata
        self.source = source

    def __call__(self, *, progress: Progress | None = None, **options: Any) -> MigrationReport:
        return self.bring(self.source.directory, progress=progress, **options)

    def bring(self, directory: Path, *, progress: Progress | None = None, **options: Any) -> MigrationReport:
        """What is in a directory, asked for as a caller asks."""
        return self.service.v1_to_v2(
            _checked(MigrateV1ToV2(v1_data_dir=directory, **options)), progress=progress
        )

    def back(self, out: Path) -> ReturnReport:
        """Write a directory of 1.x, asked for as a caller asks."""
        return self.service.v2_to_v1(_checked(MigrateV2ToV1(out=out)))

    def find(self, number: int, *, deleted: bool = False) -> Tenant | None:
        with self.metadata.read() as tx:
            return tx.tenants.find(tenant_id(number), deleted=deleted)

    def get(self, number: int, *, deleted: bool = False) -> Tenant:
        found = self.find(number, deleted=deleted)
        assert found is not None
        return found

    def slugs(self) -> dict[int, str]:
        """The slug of each tenant, deleted ones too, by the number of its ID."""
        with self.metadata.read() as tx:
            return {int.from_bytes(t.raw, "big"): slug for t, slug, _ in tx.legacy_manifests.paths()}

    def databases(self, number: int) -> list[Database]:
        with self.metadata.read() as tx:
            return tx.databases.list(tenant_id(number), deleted=False, limit=10, cursor=None).items


def _checked(request: RequestT) -> RequestT:
    """The request as the dispatcher hands it on."""
    checked = OPERATIONS[type(request)].checked(request)
    assert type(checked) is type(request)
    return checked


def suffixed(base: str, number: int) -> str:
    return f"{base}-{sha256(tenant_id(number).raw).hexdigest()[:8]}"


def one(report: MigrationReport, number: int) -> MigratedTenant:
    (found,) = (each for each in report.tenants if each.tenant_id == tenant_id(number))
    return found
