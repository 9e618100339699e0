"""Tenants, databases and collections in the model.

Each method is named after an operation and takes the fields of its request. It refers to entities by text and
raises the errors expected of the program. All fields but `if_version` are valid. Lists are not paged.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from metadata_model import DELETED, STATES, Request, Row, World, canonical, folded, visible

from akidb.domain.errors import InvalidArgument, InvalidState

KINDS = ("tenant", "database", "collection")
TENANT_DEFAULTS: Row = {
    "external_id": None,
    "status": "active",
    "memory_quota_bytes": 34_359_738_368,
    "storage_quota_bytes": 1_099_511_627_776,
    "qps_quota": 200,
    "metadata": {},
}
COLLECTION_DEFAULTS: Row = {
    "metric": "cosine",
    "embedding_model": None,
    "embedding_fingerprint": None,
    "hnsw_m": 16,
    "hnsw_ef_construction": 128,
    "max_document_count": 50_000_000,
    "metadata": {},
}
QUOTAS = ("memory_quota_bytes", "storage_quota_bytes", "qps_quota")
UNSAID: dict[str, Row] = {
    "tenant": {
        **dict.fromkeys(TENANT_DEFAULTS),
        **dict.fromkeys(QUOTAS, "the default"),
        "slug": None,
        "status": "active",
    },
    "collection": {**dict.fromkeys(COLLECTION_DEFAULTS), "metric": "cosine"},
}
"""What a request says where its caller said nothing: two that differ in this are two requests."""
SLUGS = {
    "Aki Labs": "aki-labs",
    "AKI LABS": "aki-labs",
    "Café": "cafe",
    "Cafe\u0301": "cafe",
    "日本語": "ribenyu",
    "A/B": "a-b",
    "AB": "ab",
    "...": "tenant",
    "x" * 255: "x" * 63,
}
"""The slug that each of these names is given."""


def unlimited(given: Row) -> Row:
    """The same, with None for quotas of the largest integer."""
    return {name: None if name in QUOTAS and value == 2**63 - 1 else value for name, value in given.items()}


class Tenancy(World):
    """What every call about them answers."""

    def call(self, request: Request, fields: Row) -> Any:
        """What a call gives; raises what it is to raise."""
        self.request = request
        if fields.get("if_version", 1) < 1:
            raise InvalidArgument("if_version", "too small")
        return getattr(self, request.operation.replace(".", "_"))(**fields)

    # Tenants.

    def tenant_create(self, name: str, *, slug: str | None = None, **given: Any) -> Row:
        given = unlimited(given)
        said = {field: value for field, value in given.items() if value is not None or field in QUOTAS}
        values = TENANT_DEFAULTS | said
        values |= {"name": name, "slug": slug}

        def effect() -> Row:
            row = {"tenant_id": self.request.new_id, "placement": None, **values}
            self.check_free("tenant", row, "external_id")
            row["slug"] = slug or self._derived_slug(name, row["external_id"])
            self.check_free("tenant", row, "slug")
            return self.add("tenant", row)

        answer: Row = self.once({**UNSAID["tenant"], "name": name, "slug": slug, **given}, effect)
        return answer

    def _derived_slug(self, name: str, external_id: str | None) -> str:
        """The first that is free, or that the same tenant has."""
        slug = SLUGS[name]
        digest = sha256("\n".join([name, *([external_id] if external_id else [])]).encode()).hexdigest()
        for made in (
            slug,
            *(f"{slug[: 62 - digits].rstrip('-')}-{digest[:digits]}" for digits in range(8, 15)),
        ):
            holders = [row for row in self.all("tenant") if row["slug"] == made]
            if all(
                row.get("deleted_at") is None
                and row["name"] == name
                and external_id in {None, row["external_id"]}
                for row in holders
            ):
                break
        return made

    def tenant_get(self, tenant: str) -> Row:
        return visible(self.find("tenant", tenant))

    def tenant_list(self, *, sort: str = "created_at", **wanted: Any) -> list[Row]:
        field, last_first = sort.removeprefix("-"), sort.startswith("-")
        found = [visible(row) for row in self._chosen(**wanted)]

        def place(row: Row) -> tuple[Any, str]:
            return (folded(row["name"]) if field == "name" else row[field]), row["tenant_id"]

        return sorted(found, key=place, reverse=last_first)

    def tenant_count(self, **wanted: Any) -> int:
        return len(self._chosen(**wanted))

    def _chosen(
        self,
        *,
        deleted: bool = False,
        name: str | None = None,
        name_contains: str | None = None,
        status: str | None = None,
        external_id: str | None = None,
    ) -> list[Row]:
        return [
            row
            for row in self.all("tenant", deleted=deleted)
            if (name_contains is None or folded(name_contains) in folded(row["name"]))
            and name in {None, row["name"]}
            and status in {None, row["status"]}
            and external_id in {None, row["external_id"]}
        ]

    def tenant_update(self, tenant: str, *, if_version: int | None = None, **changes: Any) -> Row:
        changes = unlimited(changes)

        def effect(row: Row) -> Row:
            self.require("metadata_write", tenant=row)
            if canonical({name: row[name] for name in changes}) == canonical(changes):
                return visible(row)
            self.check_free("tenant", row | changes, "external_id", "slug")
            return self.act("tenant", "update", row, changes)

        return self._of_tenant(tenant, [changes, if_version], if_version, effect)

    def tenant_activate(self, tenant: str, *, if_version: int | None = None) -> Row:
        return self._move_tenant(tenant, "active", "activate", None, if_version)

    def tenant_suspend(self, tenant: str, *, reason: str | None = None, if_version: int | None = None) -> Row:
        return self._move_tenant(tenant, "suspended", "suspend", reason, if_version)

    def _move_tenant(
        self, tenant: str, target: str, verb: str, reason: str | None, if_version: int | None
    ) -> Row:
        def effect(row: Row) -> Row:
            if not self.moves("tenant", row, target):
                return visible(row)
            return self.act("tenant", verb, row, {"status": target}, reason=reason)

        return self._of_tenant(tenant, [reason, if_version], if_version, effect)

    def tenant_delete(self, tenant: str, *, if_version: int | None = None) -> None:
        self._of_tenant(tenant, if_version, if_version, lambda row: self.delete("tenant", row))

    def tenant_restore(self, tenant: str, *, if_version: int | None = None) -> Row:
        def effect(row: Row) -> Row:
            return self.restore("tenant", row)

        return self._of_tenant(tenant, if_version, if_version, effect, deleted=True)

    def tenant_purge(self, tenant: str, *, if_version: int | None = None) -> None:
        def effect() -> None:
            self._refuse_live("tenant", tenant)
            row = self.find("tenant", tenant, deleted=True)
            self.check_version("tenant", row, if_version)
            self.purge("tenant", row)
            self.owner = None  # the answer outlives the tenant

        self.once(if_version, effect)

    def tenant_usage(self, tenant: str) -> Row:
        row = self.find("tenant", tenant)
        tenant_id = row["tenant_id"]
        databases = {each["database_id"] for each in self.all("database", tenant_id=tenant_id, deleted=False)}
        live = [
            each["collection_id"]
            for each in self.all("collection", tenant_id=tenant_id, deleted=False)
            if each["database_id"] in databases
        ]
        return {
            "storage_bytes": {"limit": row["storage_quota_bytes"], "used": self.used(tenant_id)},
            "memory_bytes": {"limit": row["memory_quota_bytes"], "used": 0},  # nobody searches
            "qps": {"limit": row["qps_quota"]},
            "documents": sum(len(self.documents[each]) for each in live),
            "databases": len(databases),
            "collections": len(live),
        }

    # Databases and collections.

    def database_create(self, tenant: str, name: str, *, description: str = "", state: str = "ready") -> Row:
        values = {"name": name, "description": description, "state": state}

        def effect() -> Row:
            owner = self.find("tenant", tenant)
            self.require("metadata_write", tenant=owner)
            row = {"database_id": self.request.new_id, "tenant_id": owner["tenant_id"], **values}
            self.check_free("database", row, "name", within=("tenant_id",))
            return self.add("database", row | {"schema_version": 1, "metadata": {}})

        answer: Row = self.once(values, effect)
        return answer

    def collection_create(self, tenant: str, database: str, name: str, **given: Any) -> Row:
        values = {**COLLECTION_DEFAULTS, "name": name, **given}

        def effect() -> Row:
            owner, parent = self.walk(tenant, database)
            self.require("metadata_write", tenant=owner, database=parent)
            row = {"collection_id": self.request.new_id, "tenant_id": owner["tenant_id"]}
            row |= {"database_id": parent["database_id"], "state": "ready", **values}
            self.check_free("collection", row, "name", within=("database_id",))
            answer = self.add("collection", row)
            self.documents[row["collection_id"]] = {}
            return answer

        answer: Row = self.once({**UNSAID["collection"], "name": name, **given}, effect)
        return answer

    def database_get(self, tenant: str, database: str) -> Row:
        return visible(self.walk(tenant, database)[-1])

    def collection_get(self, tenant: str, database: str, collection: str) -> Row:
        return visible(self.walk(tenant, database, collection)[-1])

    def database_list(self, tenant: str, *, deleted: bool = False) -> list[Row]:
        (owner,) = self.walk(tenant)
        return self._by_name("database", deleted=deleted, tenant_id=owner["tenant_id"])

    def collection_list(self, tenant: str, database: str, *, deleted: bool = False) -> list[Row]:
        _, parent = self.walk(tenant, database)
        return self._by_name("collection", deleted=deleted, database_id=parent["database_id"])

    def _by_name(self, kind: str, *, deleted: bool, **within: str) -> list[Row]:
        found = [visible(row) for row in self.all(kind, deleted=deleted, **within)]
        return sorted(found, key=lambda row: str(row["name"]))

    def database_count(self, tenant: str, *, deleted: bool = False) -> int:
        return len(self.database_list(tenant, deleted=deleted))

    def collection_count(self, tenant: str, database: str, *, deleted: bool = False) -> int:
        return len(self.collection_list(tenant, database, deleted=deleted))

    def database_update(
        self, tenant: str, database: str, *, if_version: int | None = None, **changes: Any
    ) -> Row:
        def effect(row: Row) -> Row:
            moved = "state" in changes and self.moves("database", row, changes["state"])
            if row | changes == row:
                return visible(row)
            if not moved:
                self.require("metadata_write", database=row)
            self.check_free("database", row | changes, "name", within=("tenant_id",))
            return self.act("database", "update", row, changes)

        return self._below("database", [tenant, database], [changes, if_version], if_version, effect)

    def collection_update(
        self, tenant: str, database: str, collection: str, *, if_version: int | None = None, **changes: Any
    ) -> Row:
        def effect(row: Row) -> Row:
            if row | changes == row:
                return visible(row)
            self.check_free("collection", row | changes, "name", within=("database_id",))
            return self.act("collection", "update", row, changes)

        path = [tenant, database, collection]
        return self._below("collection", path, [changes, if_version], if_version, effect)

    def database_delete(self, **fields: Any) -> None:
        self._delete("database", **fields)

    def database_restore(self, **fields: Any) -> Row:
        return self._restore("database", **fields)

    def database_purge(self, **fields: Any) -> None:
        self._purge("database", **fields)

    def collection_delete(self, **fields: Any) -> None:
        self._delete("collection", **fields)

    def collection_restore(self, **fields: Any) -> Row:
        return self._restore("collection", **fields)

    def collection_purge(self, **fields: Any) -> None:
        self._purge("collection", **fields)

    def _delete(self, kind: str, *, if_version: int | None = None, **names: str) -> None:
        path = list(names.values())
        self._below(kind, path, if_version, if_version, lambda row: self.delete(kind, row))

    def _restore(self, kind: str, *, if_version: int | None = None, **names: str) -> Row:
        def effect(row: Row) -> Row:
            return self.restore(kind, row)

        path = list(names.values())
        return self._below(kind, path, if_version, if_version, effect, deleted=True)

    def _purge(self, kind: str, *, if_version: int | None = None, **names: str) -> None:
        def effect(row: Row) -> None:
            self.purge(kind, row)

        path = list(names.values())
        self._below(kind, path, if_version, if_version, effect, deleted=True, purges=True)

    # What they have in common.

    def walk(self, *path: str, deleted: bool = False) -> list[Row]:
        """The rows on a path; the last is deleted or not."""
        found: list[Row] = []
        for kind, reference in zip(KINDS, path, strict=False):
            within = {f"{above}_id": row[f"{above}_id"] for above, row in zip(KINDS, found, strict=False)}
            is_last = len(found) == len(path) - 1
            found.append(self.find(kind, reference, deleted=deleted and is_last, **within))
        return found

    def used(self, tenant_id: str) -> int:
        """The bytes of all that is kept, deleted or not."""
        return sum(
            document["size"]
            for row in self.all("collection", tenant_id=tenant_id)
            for document in self.documents[row["collection_id"]].values()
        )

    def _of_tenant(
        self,
        tenant: str,
        arguments: Any,
        if_version: int | None,
        effect: Callable[[Row], Any],
        *,
        deleted: bool = False,
    ) -> Row:
        """Do something to a tenant."""

        def change() -> Any:
            row = self.find("tenant", tenant, deleted=deleted)
            self.check_version("tenant", row, if_version)
            self.owner = row["tenant_id"]
            return effect(row)

        answer: Row = self.once(arguments, change)
        return answer

    def _below(
        self,
        kind: str,
        path: Sequence[str],
        arguments: Any,
        if_version: int | None,
        effect: Callable[[Row], Any],
        *,
        deleted: bool = False,
        purges: bool = False,
    ) -> Row:
        """Do something to a database or collection, as the states above it let be done."""

        def change() -> Any:
            if purges:
                self._refuse_live(kind, *path)
            *above, row = self.walk(*path, deleted=deleted)
            self.require("metadata_write", **dict(zip(KINDS, above, strict=False)))
            self.check_version(kind, row, if_version)
            self.owner = row["tenant_id"]
            return effect(row)

        answer: Row = self.once(arguments, change)
        return answer

    def _refuse_live(self, kind: str, *path: str) -> None:
        """What is to be purged is deleted first."""
        above = self.walk(*path[:-1])
        within = {f"{each}_id": row[f"{each}_id"] for each, row in zip(KINDS, above, strict=False)}
        for row in self.all(kind, deleted=False, **within):
            if path[-1] in {row[f"{kind}_id"], row["slug" if kind == "tenant" else "name"]}:
                raise InvalidState(kind, row[STATES[kind]], "purge", [DELETED[kind]])
