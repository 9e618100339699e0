"""Tenants as handles.

The awaitable twin of `akidb.client.handles.tenants`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Unpack

from akidb.aio.databases import Databases
from akidb.aio.users import Users
from akidb.client.files import FileSource, FileTarget
from akidb.client.handles import tenants as sync
from akidb.client.handles.base import Field
from akidb.client.handles.tenants import NewTenant, TenantFields
from akidb.client.results import Page
from akidb.client.threads import Threads
from akidb.domain.archives import ImportReport
from akidb.domain.changes import ChangePage, MetadataChange
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import AuditEntry, Tenant, Usage
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort


class Tenants:
    """The tenants of a connection. Iterating goes over all that are not deleted, oldest first."""

    def __init__(self, handle: sync.Tenants, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    async def create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """Create a tenant, active unless `status` says `provisioning`.

        Without a slug it is made from the name; quotas that are left out have their defaults. Raises
        AlreadyExists for a slug or external ID that is taken, also by a deleted tenant.
        """
        return TenantHandle(await self._threads(self._sync.create, name, slug=slug, **options), self._threads)

    async def get(self, tenant: TenantRef) -> "TenantHandle":
        """The tenant with this slug or ID. Raises NotFound."""
        return TenantHandle(await self._threads(self._sync.get, tenant), self._threads)

    async def find(self, tenant: TenantRef) -> "TenantHandle | None":
        """The tenant with this slug or ID, or None."""
        found = await self._threads(self._sync.find, tenant)
        return None if found is None else TenantHandle(found, self._threads)

    async def find_external(self, external_id: str) -> "TenantHandle | None":
        """The tenant with this external ID, or None."""
        found = await self._threads(self._sync.find_external, external_id)
        return None if found is None else TenantHandle(found, self._threads)

    async def exists(self, tenant: TenantRef) -> bool:
        """Whether there is a tenant with this slug or ID."""
        return await self._threads(self._sync.exists, tenant)

    async def get_or_create(
        self, name: str, *, slug: str | None = None, **options: Unpack[NewTenant]
    ) -> "TenantHandle":
        """The tenant with this slug, or with the slug made from the name; created when there is none.

        The name and options are for a new one: a tenant that exists is given as it is.
        """
        return TenantHandle(
            await self._threads(self._sync.get_or_create, name, slug=slug, **options), self._threads
        )

    async def list(
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
        page = await self._threads(
            self._sync.list,
            status=status,
            name_contains=name_contains,
            sort=sort,
            deleted=deleted,
            limit=limit,
            cursor=cursor,
        )
        return Page((TenantHandle(item, self._threads) for item in page), page.next_cursor)

    async def __aiter__(self) -> AsyncIterator["TenantHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield TenantHandle(item, self._threads)

    async def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """How many tenants such a list has."""
        return await self._threads(
            self._sync.count,
            status=status,
            external_id=external_id,
            name_contains=name_contains,
            deleted=deleted,
        )

    async def delete(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Delete a tenant and all below it, until `restore` or `purge`."""
        await self._threads(self._sync.delete, tenant, if_version=if_version)

    async def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> "TenantHandle":
        """Bring a deleted tenant back in the state that it had."""
        return TenantHandle(
            await self._threads(self._sync.restore, tenant, if_version=if_version), self._threads
        )

    async def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Remove a deleted tenant for good, documents and all; its audit entries stay."""
        await self._threads(self._sync.purge, tenant, if_version=if_version)

    async def import_(
        self, file: FileSource, *, slug: str | None = None, dry_run: bool = False
    ) -> ImportReport:
        """Take in a tenant that `TenantHandle.export` wrote, under its own IDs; all or nothing.

        `file` is a path, or something with `read`. Raises InvalidArgument(`archive...`) for a file that is
        damaged or breaks a rule, AlreadyExists for an ID, slug or external ID that is taken, InvalidState for
        a tenant that was purged here. With `dry_run` the report tells of conflicts, and nothing is written.
        """
        return await self._threads(self._sync.import_, file, slug=slug, dry_run=dry_run)

    async def audit(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """What was done to a tenant and below it, oldest first. A purged one is named by its ID."""
        return await self._threads(self._sync.audit, tenant, limit=limit, cursor=cursor)


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

    def __init__(self, handle: sync.TenantHandle, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> Tenant:
        """The tenant as it was last read or changed through this handle."""
        return self._sync.entity

    @property
    def id(self) -> TenantId:
        """Its ID, which never changes."""
        return self._sync.id

    @property
    def databases(self) -> Databases:
        """Its databases."""
        return Databases(self._sync.databases, self._threads)

    @property
    def users(self) -> Users:
        """Its users."""
        return Users(self._sync.users, self._threads)

    async def refresh(self) -> None:
        """Read the tenant again."""
        await self._threads(self._sync.refresh)

    async def update(self, *, if_version: int | None = None, **changes: Unpack[TenantFields]) -> None:
        """Change fields; those that are left out stay. `metadata` is replaced as a whole."""
        await self._threads(self._sync.update, if_version=if_version, **changes)

    async def activate(self, *, if_version: int | None = None) -> None:
        """Let a provisioning or suspended tenant work."""
        await self._threads(self._sync.activate, if_version=if_version)

    async def suspend(self, *, reason: str | None = None, if_version: int | None = None) -> None:
        """Stop all but reads of metadata and audit. No write commits after this returns."""
        await self._threads(self._sync.suspend, reason=reason, if_version=if_version)

    async def delete(self, *, if_version: int | None = None) -> None:
        """Delete the tenant and all below it, until `restore` or `purge`."""
        await self._threads(self._sync.delete, if_version=if_version)

    async def restore(self, *, if_version: int | None = None) -> None:
        """Bring the deleted tenant back in the state that it had."""
        await self._threads(self._sync.restore, if_version=if_version)

    async def purge(self, *, if_version: int | None = None) -> None:
        """Remove the deleted tenant for good. Raises InvalidState unless it is deleted."""
        await self._threads(self._sync.purge, if_version=if_version)

    async def export(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write the tenant to a file, as of one instant: databases, collections, users, documents.

        `file` is a path, which is written whole or not at all, or something with `write`. Raises
        AlreadyExists for a file that is there.
        """
        await self._threads(self._sync.export, file, overwrite=overwrite)

    async def copy(self, slug: str, *, name: str | None = None) -> "TenantHandle":
        """Make a tenant of its own of what this one holds now, with new IDs and without users."""
        return TenantHandle(await self._threads(self._sync.copy, slug, name=name), self._threads)

    async def usage(self) -> Usage:
        """Each quota with its limit and exact use."""
        return await self._threads(self._sync.usage)

    async def audit(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page[AuditEntry]:
        """What was done to the tenant and below it, oldest first; also after its purge."""
        return await self._threads(self._sync.audit, limit=limit, cursor=cursor)

    async def changes(
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
        return await self._threads(
            self._sync.changes, since, feed=feed, limit=limit, wait_seconds=wait_seconds
        )
