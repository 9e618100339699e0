"""Users, documents and copies in the model."""

from collections.abc import Callable
from typing import Any

from metadata_model import Row, canonical, folded, visible
from metadata_tenancy import Tenancy

from akidb.domain.errors import AlreadyExists, NotFound, QuotaExceeded, Unauthenticated

DIMENSION = 16


def document(id: str, text: str, metadata: Row) -> Row:
    """A document as it is kept, and what it takes of the quota."""
    size = sum(len(part.encode()) for part in (id, text, canonical(metadata))) + 4 * DIMENSION
    return {"id": id, "text": text, "metadata": metadata, "size": size}


class Model(Tenancy):
    """All of it."""

    # Users.

    def user_create(self, tenant: str, email: str, *, password: str, role: str = "viewer") -> Row:
        def effect() -> Row:
            (owner,) = self.walk(tenant)
            self.require("metadata_write", tenant=owner)
            row = {"user_id": self.request.new_id, "tenant_id": owner["tenant_id"], "email": email}
            row |= {"role": role, "status": "active", "last_login_at": None, "created_by": None}
            self.check_free("user", row, "email", within=("tenant_id",))
            return self.add("user", row | {"_password": password}, metadata={"role": role})

        answer: Row = self.once([email, role, password], effect)
        return answer

    def user_get(self, tenant: str, user: str) -> Row:
        (owner,) = self.walk(tenant)
        return visible(self.find("user", user, tenant_id=owner["tenant_id"]))

    def user_list(self, tenant: str) -> list[Row]:
        (owner,) = self.walk(tenant)
        found = [visible(row) for row in self.all("user", tenant_id=owner["tenant_id"])]
        return sorted(found, key=lambda row: folded(row["email"]))

    def user_count(self, tenant: str) -> int:
        return len(self.user_list(tenant))

    def user_update(self, tenant: str, user: str, *, if_version: int | None = None, **changes: Any) -> Row:
        def effect(row: Row) -> Row:
            given = {name: value for name, value in changes.items() if name != "password"}
            if row | given == row and "password" not in changes:
                return visible(row)
            self.check_free("user", row | given, "email", within=("tenant_id",))
            named = [name for name in ("email", "role", "password") if name in changes]
            codes = {"changed": named} | ({"role": given["role"]} if "role" in given else {})
            hidden = {"_password": changes["password"]} if "password" in changes else {}
            return self.act("user", "update", row, given | hidden, metadata=codes)

        return self._of_user(tenant, user, [changes, if_version], if_version, effect)

    def user_activate(self, tenant: str, user: str, *, if_version: int | None = None) -> Row:
        return self._move_user(tenant, user, "active", "activate", if_version)

    def user_suspend(self, tenant: str, user: str, *, if_version: int | None = None) -> Row:
        return self._move_user(tenant, user, "suspended", "suspend", if_version)

    def user_deactivate(self, tenant: str, user: str, *, if_version: int | None = None) -> Row:
        return self._move_user(tenant, user, "deactivated", "deactivate", if_version)

    def _move_user(self, tenant: str, user: str, target: str, verb: str, if_version: int | None) -> Row:
        def effect(row: Row) -> Row:
            if not self.moves("user", row, target):
                return visible(row)
            return self.act("user", verb, row, {"status": target})

        return self._of_user(tenant, user, if_version, if_version, effect)

    def user_delete(self, tenant: str, user: str, *, if_version: int | None = None) -> None:
        def effect(row: Row) -> None:
            self.record("user.delete", row["tenant_id"], ("user", row["user_id"]))
            self.drop("user", row)

        self._of_user(tenant, user, if_version, if_version, effect)

    def user_verify_password(self, tenant: str, email: str, password: str) -> Row:
        (owner,) = self.walk(tenant)
        tenant_id = owner["tenant_id"]
        found = [
            row for row in self.all("user", tenant_id=tenant_id) if folded(row["email"]) == folded(email)
        ]
        who = ("user", found[0]["user_id"]) if found else ("tenant", tenant_id)
        if not found or found[0]["_password"] != password or found[0]["status"] != "active":
            self.record("user.verify_password", tenant_id, who, result="denied")
            raise Unauthenticated
        self.record("user.verify_password", tenant_id, who)
        if owner["status"] != "suspended":
            self.change("user", found[0], {"last_login_at": self.now})
        return visible(found[0])

    def _of_user(
        self,
        tenant: str,
        user: str,
        arguments: Any,
        if_version: int | None,
        effect: Callable[[Row], Any],
    ) -> Row:
        def change() -> Any:
            (owner,) = self.walk(tenant)
            self.require("metadata_write", tenant=owner)
            row = self.find("user", user, tenant_id=owner["tenant_id"])
            self.check_version("user", row, if_version)
            self.owner = owner["tenant_id"]
            return effect(row)

        answer: Row = self.once(arguments, change)
        return answer

    # Documents.

    def document_upsert(self, *, documents: list[Row], **path: str) -> Row:
        owner, kept = self._enter(path, "document_write")
        new = {each["id"]: document(each["id"], each["text"], each["metadata"]) for each in documents}

        def effect() -> Row:
            known = [kept["documents"][id]["size"] for id in new if id in kept["documents"]]
            growth = sum(each["size"] for each in new.values()) - sum(known)
            self._take("storage_quota_bytes", owner["storage_quota_bytes"], self._stored(owner), growth)
            limit, count = kept["row"]["max_document_count"], len(kept["documents"])
            self._take("max_document_count", limit, count, len(new) - len(known))
            kept["documents"].update(new)
            self.owner = kept["row"]["collection_id"]
            return {
                "upserted": len(new),
                "ids": list(new),
                "truncated": 0,
                "truncated_ids": [],
                "without_vector": 0,
            }

        answer: Row = self.once(documents, effect, owner["tenant_id"])
        return answer

    def document_update(self, *, metadata: Row, ids: list[str], **path: str) -> int:
        owner, kept = self._enter(path, "document_write")

        def effect() -> int:
            old = {id: kept["documents"][id] for id in ids if id in kept["documents"]}
            new = {}
            for id, each in old.items():
                merged = {k: v for k, v in (each["metadata"] | metadata).items() if v is not None}
                new[id] = document(id, each["text"], merged)
            growth = sum(new[id]["size"] - old[id]["size"] for id in new)
            self._take("storage_quota_bytes", owner["storage_quota_bytes"], self._stored(owner), growth)
            kept["documents"].update(new)
            self.owner = kept["row"]["collection_id"]
            return len(new)

        answer: int = self.once([metadata, ids], effect, owner["tenant_id"])
        return answer

    def document_delete(self, *, ids: list[str], **path: str) -> int:
        owner, kept = self._enter(path, "document_write")

        def effect() -> int:
            self.owner = kept["row"]["collection_id"]
            return sum(kept["documents"].pop(id, None) is not None for id in ids)

        answer: int = self.once(ids, effect, owner["tenant_id"])
        return answer

    def document_count(self, **path: str) -> int:
        _, kept = self._enter(path, "document_read")
        return len(kept["documents"])

    def document_scan(self, *, limit: int, **path: str) -> Row:
        _, kept = self._enter(path, "document_read")
        found = sorted(kept["documents"].values(), key=lambda each: str(each["id"]))
        items = [{name: value for name, value in each.items() if name != "size"} for each in found[:limit]]
        return {"items": items, "more": len(found) > limit}

    def collection_changes(self, **path: str) -> dict[str, Row]:
        """What one who read the whole feed knows."""
        _, kept = self._enter(path, "document_read")
        return {
            id: {name: value for name, value in each.items() if name != "size"}
            for id, each in kept["documents"].items()
        }

    def _enter(self, path: dict[str, str], work: str) -> tuple[Row, Row]:
        owner, database, collection = self.walk(*path.values())
        self.require(work, tenant=owner, database=database, collection=collection)
        self.take_token(owner)
        return owner, {"row": collection, "documents": self.documents[collection["collection_id"]]}

    def _stored(self, owner: Row) -> int:
        return self.used(owner["tenant_id"])

    @staticmethod
    def _take(quota: str, limit: int | None, used: int, requested: int) -> None:
        """A write that makes nothing larger passes, also where a limit was lowered."""
        if limit is not None and requested > 0 and used + requested > limit:
            raise QuotaExceeded(quota, limit, used, requested)

    # Copies.

    def tenant_copy(self, tenant: str, slug: str, *, name: str | None = None) -> Row:
        """A tenant of its own; `adopt` follows, with the IDs that the program gave to what is below it."""
        try:
            (origin,) = self.walk(tenant)
        except NotFound:
            gone = self.find("tenant", tenant, deleted=True)["tenant_id"]  # raises the same
            self.record("tenant.copy", gone, ("tenant", gone), result="denied", reason="not_found")
            raise
        taken = [row for row in self.all("tenant") if row["slug"] == slug]
        if taken:
            raise AlreadyExists("tenant", "slug", slug)
        new_id = self.request.new_id
        new = {"tenant_id": new_id, "slug": slug, "name": name or origin["name"], "external_id": None}
        self._branch("tenant", origin, new)
        self.record("tenant.copy", origin["tenant_id"], ("tenant", new_id))
        self.record("tenant.copy", new_id, ("tenant", origin["tenant_id"]))
        return visible(self.rows["tenant"][new_id])

    def adopt(self, origin_id: str, new_id: str, ids: dict[tuple[str, ...], str]) -> None:
        """Copy what is below a tenant; `ids` are the new ones, by the names on the path."""
        names: dict[str, str] = {}
        for row in list(self.all("database", tenant_id=origin_id)):
            names[row["database_id"]] = row["name"]
            new = {"tenant_id": new_id, "database_id": ids[row["name"],]}
            self._branch("database", row, new)
        for row in list(self.all("collection", tenant_id=origin_id)):
            above = names[row["database_id"]]
            new = {"tenant_id": new_id, "database_id": ids[above,], "collection_id": ids[above, row["name"]]}
            self._branch("collection", row, new)
            self.documents[new["collection_id"]] = dict(self.documents[row["collection_id"]])

    def _branch(self, kind: str, row: Row, new: Row) -> None:
        times = {"version": 1, "created_at": self.now, "updated_at": self.now}
        self.rows[kind][new[f"{kind}_id"]] = {**row, **times, **new}
        self.note(new["tenant_id"])
