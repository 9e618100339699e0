"""Tenants as handles."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from akidb.client.files import FileSource, FileTarget, reading, writing
from akidb.client.handles.base import Field, every, found
from akidb.client.handles.databases import Databases
from akidb.client.handles.users import Users
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.archives import ImportReport
from akidb.domain.changes import ChangePage, MetadataChange
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import AuditEntry, Tenant, Usage
from akidb.domain.errors import AlreadyExists
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import check_label, check_word, derive_slug
from akidb.operations import archives, audit, changes, tenants
from akidb.operations.declare import Operations


class NewTenant(TypedDict, total=False):
    """What may be said of a tenant when it is made, beside its name and slug."""

    external_id: str | None
    status: TenantStatus
    memory_quota_bytes: int | None
    storage_quota_bytes: int | None
    qps_quota: int | None
    metadata: Mapping[str, Any] | None


class TenantFields(TypedDict, total=False):
    """What may be changed of a tenant; what is left out stays."""

    name: str
    slug: str
    external_id: str | None
    memory_quota_bytes: int
    storage_quota_bytes: int
    qps_quota: int
    metadata: dict[str, Any]


class Tenants:
    """The tenants of a connection. Iterating goes over all that are not deleted, oldest first."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._perform = operations.perform

    def create(self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]) -> "TenantHandle":
        """Create a tenant, active unless `status` says `provisioning`.

        Without a slug it is made from the name; quotas that are left out have their defaults. Raises
        AlreadyExists for a slug or external ID that is taken, also by a deleted tenant.
        """
        return self._handle(self._perform(tenants.CreateTenant(name=name, slug=slug, **options)))

    def get(self, tenant: TenantRef) -> "TenantHandle":
        """The tenant with this slug or ID. Raises NotFound."""
        return self._handle(self._perform(tenants.GetTenant(tenant=tenant)))

    def find(self, tenant: TenantRef) -> "TenantHandle | None":
        """The tenant with this slug or ID, or None."""
        return found("tenant", lambda: self.get(tenant))

    def find_external(self, external_id: str) -> "TenantHandle | None":
        """The tenant with this external ID, or None."""
        check_label(external_id, "external_id")  # None would be no filter: it would find anybody's
        page = self._perform(tenants.ListTenants(external_id=external_id, limit=1))
        return self._handle(page.items[0]) if page.items else None

    def exists(self, tenant: TenantRef) -> bool:
        """Whether there is a tenant with this slug or ID."""
        return self.find(tenant) is not None

    def get_or_create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """The tenant with this slug, or with the slug made from the name; created when there is none.

        The name and options are for a new one: a tenant that exists is given as it is.
        """
        if slug is None:
            slug = derive_slug(check_label(name, "name"))
        if (tenant := self.find(slug)) is not None:
            return tenant
        try:
            return self.create(name, slug=slug, **options)
        except AlreadyExists as error:  # another was quicker, or it is deleted, or the external ID is taken
            if (tenant := self.find(slug)) is None:
                raise error from None
            return tenant

    def list(
        self,
        *,
        status: TenantStatus | None = None,
        name_contains: str | None = None,
        sort: TenantSort | str = TenantSort.CREATED_AT,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page["TenantHandle"]:
        """Up to `limit` tenants, oldest first; with `deleted` the deleted ones alone.

        `name_contains` is looked for without regard to case. `sort` is one of `created_at`, `updated_at`,
        `name` and `slug`, with a minus before it for the last first.
        """
        page = self._perform(
            tenants.ListTenants(
                status=status,
                name_contains=name_contains,
                sort=check_word(TenantSort, sort, "sort"),
                deleted=deleted,
                limit=limit,
                cursor=cursor,
            )
        )
        return Page(map(self._handle, page.items), page.next_cursor)

    def __iter__(self) -> Iterator["TenantHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[Tenant]:
        return self._perform(tenants.ListTenants(cursor=cursor))

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """How many tenants such a list has."""
        return self._perform(
            tenants.CountTenants(
                status=status, external_id=external_id, name_contains=name_contains, deleted=deleted
            )
        )

    def delete(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Delete a tenant and all below it, until `restore` or `purge`."""
        self._perform(tenants.DeleteTenant(tenant=tenant, if_version=if_version))

    def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> "TenantHandle":
        """Bring a deleted tenant back in the state that it had."""
        return self._handle(self._perform(tenants.RestoreTenant(tenant=tenant, if_version=if_version)))

    def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Remove a deleted tenant for good, documents and all; its audit entries stay."""
        self._perform(tenants.PurgeTenant(tenant=tenant, if_version=if_version))

    def import_(self, file: FileSource, *, slug: str | None = None, dry_run: bool = False) -> ImportReport:
        """Take in a tenant that `TenantHandle.export` wrote, under its own IDs; all or nothing.

        `file` is a path, or something with `read`. Raises InvalidArgument(`archive...`) for a file that is
        damaged or breaks a rule, AlreadyExists for an ID, slug or external ID that is taken, InvalidState for
        a tenant that was purged here. With `dry_run` the report tells of conflicts, and nothing is written.
        """
        with reading(file) as source:
            return self._perform(archives.ImportTenant(slug=slug, dry_run=dry_run), source=source)

    def audit(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """What was done to a tenant and below it, oldest first. A purged one is named by its ID."""
        page = self._perform(audit.ListAuditEntries(tenant=tenant, limit=limit, cursor=cursor))
        return Page(page.items, page.next_cursor)

    def _handle(self, entity: Tenant) -> "TenantHandle":
        return TenantHandle(self._operations, entity)


class TenantHandle:
    """A tenant: the unit of isolation, of quotas, and of storage.

    With `if_version` a change is made only while the tenant has that version; otherwise it raises
    PreconditionFailed and changes nothing.
    """

    name = Field[str]()
    slug = Field[str]()
    status = Field[TenantStatus]()
    external_id = Field[str | None]()
    memory_quota_bytes = Field[int]()
    storage_quota_bytes = Field[int]()
    qps_quota = Field[int]()
    metadata = Field[dict[str, Any]]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()
    deleted_at = Field[datetime | None]()

    def __init__(self, operations: Operations, entity: Tenant) -> None:
        self._operations = operations
        self._perform = operations.perform
        self._entity = entity

    def __repr__(self) -> str:
        return f"<tenant {self.slug} {self.id}>"

    @property
    def entity(self) -> Tenant:
        """The tenant as it was last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> TenantId:
        """Its ID, which never changes."""
        return self._entity.tenant_id

    @property
    def databases(self) -> Databases:
        """Its databases."""
        return Databases(self._operations, self.id)

    @property
    def users(self) -> Users:
        """Its users."""
        return Users(self._operations, self.id)

    def refresh(self) -> None:
        """Read the tenant again."""
        self._entity = self._perform(tenants.GetTenant(tenant=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[TenantFields]) -> None:
        """Change fields; those that are left out stay. `metadata` is replaced as a whole."""
        self._entity = self._perform(tenants.UpdateTenant(tenant=self.id, **changes, if_version=if_version))

    def activate(self, *, if_version: int | None = None) -> None:
        """Let a provisioning or suspended tenant work."""
        self._entity = self._perform(tenants.ActivateTenant(tenant=self.id, if_version=if_version))

    def suspend(self, *, reason: str | None = None, if_version: int | None = None) -> None:
        """Stop all but reads of metadata and audit. No write commits after this returns."""
        self._entity = self._perform(
            tenants.SuspendTenant(tenant=self.id, reason=reason, if_version=if_version)
        )

    def delete(self, *, if_version: int | None = None) -> None:
        """Delete the tenant and all below it, until `restore` or `purge`."""
        self._perform(tenants.DeleteTenant(tenant=self.id, if_version=if_version))

    def restore(self, *, if_version: int | None = None) -> None:
        """Bring the deleted tenant back in the state that it had."""
        self._entity = self._perform(tenants.RestoreTenant(tenant=self.id, if_version=if_version))

    def purge(self, *, if_version: int | None = None) -> None:
        """Remove the deleted tenant for good. Raises InvalidState unless it is deleted."""
        self._perform(tenants.PurgeTenant(tenant=self.id, if_version=if_version))

    def export(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write the tenant to a file, as of one instant: databases, collections, users, documents.

        `file` is a path, which is written whole or not at all, or something with `write`. Raises
        AlreadyExists for a file that is there.
        """
        with writing(file, overwrite=overwrite) as target:
            self._perform(archives.ExportTenant(tenant=self.id), sink=target)

    def copy(self, slug: str, *, name: str | None = None) -> "TenantHandle":
        """Make a tenant of its own of what this one holds now, with new IDs and without users."""
        return TenantHandle(
            self._operations,
            self._perform(archives.CopyTenant(tenant=self.id, slug=slug, name=name)),
        )

    def usage(self) -> Usage:
        """Each quota with its limit and exact use."""
        return self._perform(tenants.GetUsage(tenant=self.id))

    def audit(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page[AuditEntry]:
        """What was done to the tenant and below it, oldest first; also after its purge."""
        page = self._perform(audit.ListAuditEntries(tenant=self.id, limit=limit, cursor=cursor))
        return Page(page.items, page.next_cursor)

    def changes(
        self,
        since: int = 0,
        *,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
    ) -> ChangePage[MetadataChange]:
        """What changed after a sequence: the tenant, its databases, collections and users, as they are now.

        Start with nothing, which gives all there is, and go on with the `next_since` and `feed` of each
        answer. What is deleted is there with its `deleted_at`; a change of type `delete` says that it is
        purged. PreconditionFailed says to start again. With `wait_seconds` (0-60) an answer without a
        change is given only when the time is up.
        """
        return self._perform(
            changes.GetTenantChanges(
                tenant=self.id, since=since, feed=feed, limit=limit, wait_seconds=wait_seconds
            )
        )
