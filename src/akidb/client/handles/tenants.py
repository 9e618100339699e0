"""Handles of tenants."""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from akidb.client.files import FileSource, FileTarget, reading, writing
from akidb.client.handles.base import Bound, Field, every, found, require_same, wanted
from akidb.client.handles.databases import Databases
from akidb.client.handles.users import Users
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.archives import ImportReport
from akidb.domain.changes import ChangePage, MetadataChange
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import AuditEntry, Tenant, Usage
from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import check_label, check_word
from akidb.operations import archives, audit, changes, tenants
from akidb.operations.declare import Operations


class NewTenant(TypedDict, total=False):
    """Optional fields of a new tenant, except its slug."""

    external_id: str | None
    status: TenantStatus
    memory_quota_bytes: int | None
    storage_quota_bytes: int | None
    qps_quota: int | None
    metadata: Mapping[str, Any] | None


class TenantFields(TypedDict, total=False):
    """The fields of a tenant that can be changed; omitted fields keep their values."""

    name: str
    slug: str
    external_id: str | None
    memory_quota_bytes: int | None
    storage_quota_bytes: int | None
    qps_quota: int | None
    metadata: dict[str, Any]


class Tenants(Bound):
    """The tenants of a connection. Iterating yields all that are not deleted, oldest first."""

    __slots__ = ()

    def create(self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]) -> "TenantHandle":
        """Create a tenant, with the status `active` (the default) or `provisioning`.

        The slug is derived from the name if omitted, with a suffix if a tenant with another name or
        external ID has that slug; omitted quotas have their defaults, and None is unlimited. Raises
        AlreadyExists if the slug or external ID is taken, even by a deleted tenant.
        """
        return self._handle(self._perform(tenants.CreateTenant(name=name, slug=slug, **options)))

    def get(self, tenant: TenantRef) -> "TenantHandle":
        """Return the tenant with this slug or ID. Raises NotFound."""
        return self._handle(self._perform(tenants.GetTenant(tenant=tenant)))

    def find(self, tenant: TenantRef) -> "TenantHandle | None":
        """Return the tenant with this slug or ID, or None."""
        return found("tenant", tenant, lambda: self.get(tenant))

    def find_external(self, external_id: str) -> "TenantHandle | None":
        """Return the tenant with this external ID, or None."""
        try:
            check_label(external_id, "external_id")  # None would not filter, and match any tenant
        except InvalidArgument:
            if not isinstance(external_id, str):
                raise
            return None
        page = self._perform(tenants.ListTenants(external_id=external_id, limit=1))
        return self._handle(page.items[0]) if page.items else None

    def exists(self, tenant: TenantRef) -> bool:
        """Return whether a tenant with this slug or ID exists."""
        return self.find(tenant) is not None

    def __contains__(self, tenant: object) -> bool:
        """Return whether a tenant with this slug or ID, or of this handle, exists."""
        return self._contains(tenant, TenantHandle, TenantId, self.exists)

    def get_or_create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """Return the tenant with this external ID, if given, else slug, if given, else name, or create it.

        Raises AlreadyExists, with the `field`, if it exists and differs from a given argument, is deleted,
        or if several tenants have the name.
        """
        given = {"name": name, "slug": slug, **options}
        same = wanted(tenants.CreateTenant, given)
        tenant = self._same(same)
        if tenant is None:
            try:
                return self.create(name, slug=slug, **options)
            except AlreadyExists as error:  # created concurrently, deleted, or the slug is taken
                if (tenant := self._same(same)) is None:
                    raise error from None
        require_same("tenant", tenant.slug, tenant, same)
        return tenant

    def _same(self, given: Mapping[str, Any]) -> "TenantHandle | None":
        """Return the tenant that these fields of a new one identify, or None. A slug may be lossy."""
        name = given["name"]
        if "external_id" in given:
            return self.find_external(given["external_id"])
        if "slug" in given:
            return self.find(given["slug"])
        found = self.list(name=name, limit=2)
        if len(found) > 1:
            message = f"several tenants have the name {name!r}: give the slug or the external_id"
            raise AlreadyExists("tenant", "name", name, message=message)
        if not found and (gone := self.list(name=name, deleted=True, limit=1)):
            id, deleted_at = str(gone[0].id), f"{gone[0].deleted_at:%Y-%m-%dT%H:%M:%SZ}"
            message = (
                f"a deleted tenant has the name {name!r}: it was deleted {deleted_at}, and keeps it until"
                f" it is purged; restore or purge tenant {id}, or give a slug"
            )
            error = AlreadyExists("tenant", "name", name, message=message)
            error.fields |= {"id": id, "deleted_at": deleted_at}
            raise error
        return found[0] if found else None

    def list(
        self,
        *,
        status: TenantStatus | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        sort: TenantSort | str = TenantSort.CREATED_AT,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page["TenantHandle"]:
        """Return up to `limit` tenants, oldest first; with `deleted`, only deleted ones.

        `name` is the exact name; `name_contains` is case-insensitive. `sort` is one of `created_at`,
        `updated_at`, `name` and `slug`; a leading minus sorts in descending order.
        """
        page = self._perform(
            tenants.ListTenants(
                status=status,
                name=name,
                name_contains=name_contains,
                sort=check_word(TenantSort, sort, "sort"),
                deleted=deleted,
                limit=limit,
                cursor=cursor,
            )
        )
        return Page(map(self._handle, page.items), page.next_cursor, page.damaged)

    def __iter__(self) -> Iterator["TenantHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[Tenant]:
        return self._perform(tenants.ListTenants(cursor=cursor))

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """Return the number of tenants, with the same filters as `list`."""
        return self._perform(
            tenants.CountTenants(
                status=status,
                external_id=external_id,
                name=name,
                name_contains=name_contains,
                deleted=deleted,
            )
        )

    def delete(self, tenant: TenantRef, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete a tenant and all its data. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its slug and external ID are free again.
        """
        self._perform(tenants.DeleteTenant(tenant=tenant, if_version=if_version))
        if purge:
            self.purge(tenant)

    def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> "TenantHandle":
        """Restore a deleted tenant, with its previous status."""
        return self._handle(self._perform(tenants.RestoreTenant(tenant=tenant, if_version=if_version)))

    def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted tenant and its documents; its audit entries are kept."""
        self._perform(tenants.PurgeTenant(tenant=tenant, if_version=if_version))

    def import_(
        self, file: FileSource, *, slug: str | None = None, new_ids: bool = False, dry_run: bool = False
    ) -> ImportReport:
        """Import a tenant exported by `TenantHandle.export`, with its original IDs, atomically.

        With `new_ids`, the tenant and everything in it get new ones: for a tenant that was purged here,
        or that still exists under another slug and external ID.

        `file` is a path, or an object with `read`. Raises InvalidArgument(`archive...`) for a damaged or
        invalid file, AlreadyExists if an ID, slug or external ID is taken, InvalidState if the tenant
        was purged here. With `dry_run`, conflicts are reported instead and nothing is written.
        """
        request = archives.ImportTenant(slug=slug, new_ids=new_ids, dry_run=dry_run)
        with reading(file) as source:
            return self._perform(request, source=source)

    def audit(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Return the audit entries of a tenant, oldest first. Refer to a purged tenant by its ID."""
        page = self._perform(audit.ListAuditEntries(tenant=tenant, limit=limit, cursor=cursor))
        return Page(page.items, page.next_cursor, page.damaged)

    def _handle(self, entity: Tenant) -> "TenantHandle":
        return TenantHandle(self._operations, entity)


class TenantHandle(Bound):
    """A tenant: the unit of isolation, quotas and storage.

    With `if_version`, a method changes the tenant only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ("_entity",)
    _changed_by = "use update(), activate() or suspend()"

    name = Field[str]()
    slug = Field[str]()
    status = Field[TenantStatus]()
    external_id = Field[str | None]()
    memory_quota_bytes = Field[int | None]()
    storage_quota_bytes = Field[int | None]()
    qps_quota = Field[int | None]()
    metadata = Field[dict[str, Any]]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()
    deleted_at = Field[datetime | None]()

    def __init__(self, operations: Operations, entity: Tenant) -> None:
        super().__init__(operations)
        self._entity = entity

    def _key(self) -> Hashable:
        return self.id

    def __repr__(self) -> str:
        return f"<tenant {self.slug} {self.id}>"

    @property
    def entity(self) -> Tenant:
        """The tenant as last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> TenantId:
        """The ID of the tenant; it never changes."""
        return self._entity.tenant_id

    @property
    def databases(self) -> Databases:
        """The databases of the tenant."""
        return Databases(self._operations, self.id)

    @property
    def users(self) -> Users:
        """The users of the tenant."""
        return Users(self._operations, self.id)

    def refresh(self) -> None:
        """Reload the tenant."""
        self._entity = self._perform(tenants.GetTenant(tenant=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[TenantFields]) -> None:
        """Change fields; omitted ones keep their values. `metadata` is replaced as a whole.

        A quota of None is unlimited.
        """
        self._entity = self._perform(tenants.UpdateTenant(tenant=self.id, **changes, if_version=if_version))

    def activate(self, *, if_version: int | None = None) -> None:
        """Activate a provisioning or suspended tenant."""
        self._entity = self._perform(tenants.ActivateTenant(tenant=self.id, if_version=if_version))

    def suspend(self, *, reason: str | None = None, if_version: int | None = None) -> None:
        """Block everything but reads of metadata and audit. No write commits after this returns."""
        self._entity = self._perform(
            tenants.SuspendTenant(tenant=self.id, reason=reason, if_version=if_version)
        )

    def delete(self, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete the tenant and all its data. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its slug and external ID are free again.
        """
        self._perform(tenants.DeleteTenant(tenant=self.id, if_version=if_version))
        if purge:
            self.purge()

    def restore(self, *, if_version: int | None = None) -> None:
        """Restore the deleted tenant, with its previous status."""
        self._entity = self._perform(tenants.RestoreTenant(tenant=self.id, if_version=if_version))

    def purge(self, *, if_version: int | None = None) -> None:
        """Permanently remove the deleted tenant. Raises InvalidState unless it is deleted."""
        self._perform(tenants.PurgeTenant(tenant=self.id, if_version=if_version))

    def export(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write a consistent snapshot of the tenant to a file: databases, collections, users, documents.

        `file` is a path, which is written atomically, or an object with `write`. Raises AlreadyExists
        for an existing file, unless `overwrite` is set.
        """
        with writing(file, overwrite=overwrite) as target:
            self._perform(archives.ExportTenant(tenant=self.id), sink=target)

    def copy(self, slug: str, *, name: str | None = None) -> "TenantHandle":
        """Copy the current contents to a new tenant, with new IDs and without users."""
        return TenantHandle(
            self._operations,
            self._perform(archives.CopyTenant(tenant=self.id, slug=slug, name=name)),
        )

    def usage(self) -> Usage:
        """Return the limit and the exact usage of each quota."""
        return self._perform(tenants.GetUsage(tenant=self.id))

    def audit(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page[AuditEntry]:
        """Return the audit entries of the tenant, oldest first. They outlive a purge."""
        page = self._perform(audit.ListAuditEntries(tenant=self.id, limit=limit, cursor=cursor))
        return Page(page.items, page.next_cursor, page.damaged)

    def changes(
        self,
        since: int = 0,
        *,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
    ) -> ChangePage[MetadataChange]:
        """Return changes after sequence `since`: the current tenant, databases, collections and users.

        The first call, without arguments, starts from the beginning; pass the `next_since` and `feed` of each
        page to the next call. Deleted entities have a `deleted_at`; a change of type `delete` means purged.
        On PreconditionFailed, start from the beginning again. With `wait_seconds` (0-60), the call waits up
        to that long for a change before it returns an empty page.
        """
        return self._perform(
            changes.GetTenantChanges(
                tenant=self.id, since=since, feed=feed, limit=limit, wait_seconds=wait_seconds
            )
        )
