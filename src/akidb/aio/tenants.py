"""Handles of tenants.

The awaitable twin of `akidb.client.handles.tenants`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Unpack

from akidb.aio.base import Twin
from akidb.aio.databases import Databases
from akidb.aio.users import Users
from akidb.client.files import FileSource, FileTarget
from akidb.client.handles import tenants as sync
from akidb.client.handles.base import Field
from akidb.client.handles.tenants import NewTenant, TenantFields
from akidb.client.results import Page
from akidb.domain.archives import ImportReport
from akidb.domain.changes import ChangePage, MetadataChange
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import AuditEntry, Tenant, Usage
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort


class Tenants(Twin[sync.Tenants]):
    """The tenants of a connection. Iterating yields all that are not deleted, oldest first."""

    __slots__ = ()

    async def create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """Create a tenant, with the status `active` (the default) or `provisioning`.

        The slug is derived from the name if omitted, with a suffix if a tenant with another name or
        external ID has that slug; omitted quotas have their defaults, and None is unlimited. Raises
        AlreadyExists if the slug or external ID is taken, even by a deleted tenant.
        """
        return TenantHandle(await self._threads(self._sync.create, name, slug=slug, **options), self._threads)

    async def get(self, tenant: TenantRef) -> "TenantHandle":
        """Return the tenant with this slug or ID. Raises NotFound."""
        return TenantHandle(await self._threads(self._sync.get, tenant), self._threads)

    async def find(self, tenant: TenantRef) -> "TenantHandle | None":
        """Return the tenant with this slug or ID, or None."""
        found = await self._threads(self._sync.find, tenant)
        return None if found is None else TenantHandle(found, self._threads)

    async def find_external(self, external_id: str) -> "TenantHandle | None":
        """Return the tenant with this external ID, or None."""
        found = await self._threads(self._sync.find_external, external_id)
        return None if found is None else TenantHandle(found, self._threads)

    async def exists(self, tenant: TenantRef) -> bool:
        """Return whether a tenant with this slug or ID exists."""
        return await self._threads(self._sync.exists, tenant)

    async def get_or_create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """Return the tenant with this external ID, if given, else slug, if given, else name, or create it.

        Raises AlreadyExists, with the `field`, if it exists and differs from a given argument, is deleted,
        or if several tenants have the name.
        """
        return TenantHandle(
            await self._threads(self._sync.get_or_create, name, slug=slug, **options), self._threads
        )

    async def list(
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
        page = await self._threads(
            self._sync.list,
            status=status,
            name=name,
            name_contains=name_contains,
            sort=sort,
            deleted=deleted,
            limit=limit,
            cursor=cursor,
        )
        return Page((TenantHandle(item, self._threads) for item in page), page.next_cursor, page.damaged)

    async def __aiter__(self) -> AsyncIterator["TenantHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield TenantHandle(item, self._threads)

    async def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """Return the number of tenants, with the same filters as `list`."""
        return await self._threads(
            self._sync.count,
            status=status,
            external_id=external_id,
            name=name,
            name_contains=name_contains,
            deleted=deleted,
        )

    async def delete(self, tenant: TenantRef, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete a tenant and all its data. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its slug and external ID are free again.
        """
        await self._threads(self._sync.delete, tenant, purge=purge, if_version=if_version)

    async def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> "TenantHandle":
        """Restore a deleted tenant, with its previous status."""
        return TenantHandle(
            await self._threads(self._sync.restore, tenant, if_version=if_version), self._threads
        )

    async def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted tenant and its documents; its audit entries are kept."""
        await self._threads(self._sync.purge, tenant, if_version=if_version)

    async def import_(
        self, file: FileSource, *, slug: str | None = None, new_ids: bool = False, dry_run: bool = False
    ) -> ImportReport:
        """Import a tenant exported by `TenantHandle.export`, with its original IDs, atomically.

        With `new_ids`, the tenant and everything in it get new ones: for a tenant that was purged here,
        or that still exists under another slug and external ID.

        `file` is a path, or an object with `read`. Raises InvalidArgument(`archive...`) for a damaged or
        invalid file, AlreadyExists if an ID, slug or external ID is taken, InvalidState if the tenant
        was purged here. With `dry_run`, conflicts are reported instead and nothing is written.
        """
        return await self._threads(self._sync.import_, file, slug=slug, new_ids=new_ids, dry_run=dry_run)

    async def audit(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Return the audit entries of a tenant, oldest first. Refer to a purged tenant by its ID."""
        return await self._threads(self._sync.audit, tenant, limit=limit, cursor=cursor)


class TenantHandle(Twin[sync.TenantHandle]):
    """A tenant: the unit of isolation, quotas and storage.

    With `if_version`, a method changes the tenant only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ()
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

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> Tenant:
        """The tenant as last read or changed through this handle."""
        return self._sync.entity

    @property
    def id(self) -> TenantId:
        """The ID of the tenant; it never changes."""
        return self._sync.id

    @property
    def databases(self) -> Databases:
        """The databases of the tenant."""
        return Databases(self._sync.databases, self._threads)

    @property
    def users(self) -> Users:
        """The users of the tenant."""
        return Users(self._sync.users, self._threads)

    async def refresh(self) -> None:
        """Reload the tenant."""
        await self._threads(self._sync.refresh)

    async def update(self, *, if_version: int | None = None, **changes: Unpack[TenantFields]) -> None:
        """Change fields; omitted ones keep their values. `metadata` is replaced as a whole.

        A quota of None is unlimited.
        """
        await self._threads(self._sync.update, if_version=if_version, **changes)

    async def activate(self, *, if_version: int | None = None) -> None:
        """Activate a provisioning or suspended tenant."""
        await self._threads(self._sync.activate, if_version=if_version)

    async def suspend(self, *, reason: str | None = None, if_version: int | None = None) -> None:
        """Block everything but reads of metadata and audit. No write commits after this returns."""
        await self._threads(self._sync.suspend, reason=reason, if_version=if_version)

    async def delete(self, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete the tenant and all its data. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its slug and external ID are free again.
        """
        await self._threads(self._sync.delete, purge=purge, if_version=if_version)

    async def restore(self, *, if_version: int | None = None) -> None:
        """Restore the deleted tenant, with its previous status."""
        await self._threads(self._sync.restore, if_version=if_version)

    async def purge(self, *, if_version: int | None = None) -> None:
        """Permanently remove the deleted tenant. Raises InvalidState unless it is deleted."""
        await self._threads(self._sync.purge, if_version=if_version)

    async def export(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write a consistent snapshot of the tenant to a file: databases, collections, users, documents.

        `file` is a path, which is written atomically, or an object with `write`. Raises AlreadyExists
        for an existing file, unless `overwrite` is set.
        """
        await self._threads(self._sync.export, file, overwrite=overwrite)

    async def copy(self, slug: str, *, name: str | None = None) -> "TenantHandle":
        """Copy the current contents to a new tenant, with new IDs and without users."""
        return TenantHandle(await self._threads(self._sync.copy, slug, name=name), self._threads)

    async def usage(self) -> Usage:
        """Return the limit and the exact usage of each quota."""
        return await self._threads(self._sync.usage)

    async def audit(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page[AuditEntry]:
        """Return the audit entries of the tenant, oldest first. They outlive a purge."""
        return await self._threads(self._sync.audit, limit=limit, cursor=cursor)

    async def changes(
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
        return await self._threads(
            self._sync.changes, since, feed=feed, limit=limit, wait_seconds=wait_seconds
        )
