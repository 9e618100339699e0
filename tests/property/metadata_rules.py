"""Rules for tenants, databases, collections, users and their documents.

Each rule is one call on one of two connections. It must match the model: the same result, or the same error
with the same fields.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize
from metadata_contents import DIMENSION
from metadata_machine import PLAIN, How, Machine, Target, rule
from metadata_model import Row
from metadata_tenancy import SLUGS

HOW = st.builds(
    How,
    connection=st.sampled_from([0, 1]),
    by_name=st.booleans(),
    key=st.sampled_from([None, None, None, "one", "two"]),
    version=st.sampled_from([None, None, None, None, None, 0, 0, 0, -1, 1]),
)
TENANT_NAMES = st.sampled_from(list(SLUGS))
EXTERNAL_IDS = st.sampled_from([None, None, "crm-1", "CRM-1", "顧客"])
QUOTAS = st.sampled_from([None, 0, 100, 400, 2**63 - 1])
RATES = st.sampled_from([None, None, None, 0, 3])
METADATA = st.sampled_from([{}, {"plan": "pro"}, {"a": 1}, {"a": True}, {"b": None, "a": ["é"]}])
NAMES = st.sampled_from(["kb", "KB", "notes", "a.b-c_d", "0"])
EMAILS = st.sampled_from(["bob@x", "Bob@X", "bob@y", "jose\u0301@x", "JOSÉ@x", "straße@x", "STRASSE@x"])
PASSWORDS = st.sampled_from(["correct horse", "battery staple", "jos\u00e9-horse"])
ROLES = st.sampled_from(["admin", "developer", "viewer", "auditor"])
LIMITS = st.sampled_from([2, 1, 0, 50_000_000])
Verb = tuple[str, str]
"""What is done to a thing that is there, and to one that is deleted."""
VERBS = st.sampled_from(
    [("delete", "restore"), ("delete", "restore"), ("delete", "purge"), ("purge", "delete")],
)
TENANT_VERBS = st.sampled_from(
    [
        ("activate", "restore"),
        ("suspend", "restore"),
        ("activate", "restore"),
        ("delete", "restore"),
        ("purge", "purge"),
        ("restore", "activate"),
    ],
)
SORTS = ["created_at", "updated_at", "name", "slug"]


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    """Some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


class EntityRules(Machine):
    """Every operation of tenants, databases, collections and users."""

    tenants, databases = Machine.tenants, Machine.databases
    collections, users = Machine.collections, Machine.users

    @initialize(target=tenants)
    def first_tenant(self) -> Target:
        """With room for three or four documents."""
        answer = self.do(PLAIN[0], "tenant.create", name="Aki Labs", storage_quota_bytes=300)
        return self.made("tenant", answer)

    @initialize(target=databases, tenant=tenants)
    def first_database(self, tenant: str) -> Target:
        return self.made("database", self.do(PLAIN[0], "database.create", tenant=tenant, name="kb"))

    @initialize(target=collections, database=databases)
    def first_collection(self, database: str) -> Target:
        path = self.path(PLAIN[0], *self.homes[database])
        limits = {"dimension": DIMENSION, "max_document_count": 2}
        answer = self.do(PLAIN[0], "collection.create", **path, name="notes", **limits)
        return self.made("collection", answer)

    @initialize(target=users, tenant=tenants)
    def first_user(self, tenant: str) -> Target:
        answer = self.do(PLAIN[0], "user.create", tenant=tenant, email="bob@x", password="correct horse")
        return self.made("user", answer)

    # Tenants.

    @rule(
        target=tenants,
        how=HOW,
        name=TENANT_NAMES,
        given=optional(
            slug=st.sampled_from(["aki-labs", "cafe", "t1", "0"]),
            external_id=EXTERNAL_IDS,
            status=st.sampled_from(["active", "provisioning"]),
            memory_quota_bytes=QUOTAS,
            storage_quota_bytes=QUOTAS,
            qps_quota=RATES,
            metadata=METADATA,
        ),
    )
    def create_tenant(self, how: How, name: str, given: Row) -> Target:
        return self.made("tenant", self.do(how, "tenant.create", name=name, **given))

    @rule(
        how=HOW,
        tenant=tenants,
        changes=optional(
            name=TENANT_NAMES,
            slug=st.sampled_from(["aki-labs", "cafe", "t1", "t2"]),
            external_id=EXTERNAL_IDS,
            storage_quota_bytes=QUOTAS,
            qps_quota=RATES,
            metadata=METADATA,
        ),
    )
    def update_tenant(self, how: How, tenant: str, changes: Row) -> None:
        version = self.if_version(how, "tenant", tenant)
        self.do(how, "tenant.update", **self.path(how, tenant), **changes, **version)

    @rule(
        how=HOW,
        tenant=tenants,
        verb=TENANT_VERBS,
        reason=st.sampled_from([None, "unpaid"]),
    )
    def move_tenant(self, how: How, tenant: str, verb: Verb, reason: str | None) -> None:
        name = self.chosen(verb, "tenant", tenant)
        given = {"reason": reason} if name == "suspend" else {}
        given |= self.if_version(how, "tenant", tenant)
        self.do(how, f"tenant.{name}", **self.path(how, tenant), **given)

    @rule(how=HOW, tenant=tenants)
    def get_tenant(self, how: How, tenant: str) -> None:
        how = how._replace(key=None)
        self.do(how, "tenant.get", **self.path(how, tenant))
        self.do(how, "tenant.usage", **self.path(how, tenant))

    @rule(
        connection=st.sampled_from([0, 1]),
        wanted=optional(
            status=st.sampled_from(["active", "provisioning", "suspended", "decommissioned"]),
            external_id=EXTERNAL_IDS.filter(lambda value: value is not None),
            name=TENANT_NAMES,
            name_contains=st.sampled_from(["a", "É", "e\u0301", "本", "/", "xxx", "aki labs"]),
            deleted=st.booleans(),
        ),
        sort=st.sampled_from([f"{minus}{field}" for field in SORTS for minus in ("", "-")]),
        limit=st.integers(1, 4),
    )
    def list_tenants(self, connection: int, wanted: Row, sort: str, limit: int) -> None:
        self.compare(connection, "tenant.list", limit=limit, sort=sort, **wanted)

    def chosen(self, verb: Verb, kind: str, identity: str) -> str:
        row = self.model.rows[kind].get(identity)
        return verb[row is None or row["deleted_at"] is not None]

    # Databases.

    @rule(
        target=databases,
        how=HOW,
        tenant=tenants,
        name=NAMES,
        state=st.sampled_from(["ready", "ready", "provisioning"]),
    )
    def create_database(self, how: How, tenant: str, name: str, state: str) -> Target:
        answer = self.do(how, "database.create", **self.path(how, tenant), name=name, state=state)
        return self.made("database", answer)

    @rule(
        how=HOW,
        database=databases,
        changes=optional(
            name=NAMES,
            description=st.sampled_from(["", "数"]),
            state=st.sampled_from(["provisioning", "ready", "ready", "migrating"]),
            schema_version=st.sampled_from([1, 2]),
        ),
    )
    def update_database(self, how: How, database: str, changes: Row) -> None:
        version = self.if_version(how, "database", database)
        path = self.path(how, *self.homes[database])
        self.do(how, "database.update", **path, **changes, **version)

    @rule(how=HOW, database=databases, verb=VERBS)
    def move_database(self, how: How, database: str, verb: Verb) -> None:
        version = self.if_version(how, "database", database)
        name = self.chosen(verb, "database", database)
        self.do(how, f"database.{name}", **self.path(how, *self.homes[database]), **version)

    @rule(how=HOW, database=databases, tenant=tenants)
    def get_database(self, how: How, database: str, tenant: str) -> None:
        """Where it is, and where a database of another tenant may be."""
        how = how._replace(key=None)
        self.do(how, "database.get", **self.path(how, *self.homes[database]))
        self.do(how, "database.get", **self.path(how, tenant, database))

    @rule(how=HOW, tenant=tenants, deleted=st.booleans(), limit=st.integers(1, 3))
    def list_databases(self, how: How, tenant: str, deleted: bool, limit: int) -> None:
        path = self.path(how, tenant)
        self.compare(how.connection, "database.list", **path, limit=limit, deleted=deleted)

    # Collections.

    @rule(
        target=collections,
        how=HOW,
        database=databases,
        name=NAMES,
        given=optional(
            metric=st.sampled_from(["cosine", "dot", "l2"]),
            hnsw_m=st.sampled_from([2, 32]),
            max_document_count=LIMITS,
        ),
    )
    def create_collection(self, how: How, database: str, name: str, given: Row) -> Target:
        path = self.path(how, *self.homes[database])
        answer = self.do(how, "collection.create", **path, name=name, dimension=DIMENSION, **given)
        return self.made("collection", answer)

    @rule(
        how=HOW,
        collection=collections,
        changes=optional(
            name=NAMES,
            hnsw_m=st.sampled_from([2, 16]),
            hnsw_ef_construction=st.sampled_from([64, 128]),
            max_document_count=LIMITS,
        ),
    )
    def update_collection(self, how: How, collection: str, changes: Row) -> None:
        version = self.if_version(how, "collection", collection)
        path = self.path(how, *self.homes[collection])
        self.do(how, "collection.update", **path, **changes, **version)

    @rule(how=HOW, collection=collections, verb=VERBS)
    def move_collection(self, how: How, collection: str, verb: Verb) -> None:
        version = self.if_version(how, "collection", collection)
        name = self.chosen(verb, "collection", collection)
        self.do(how, f"collection.{name}", **self.path(how, *self.homes[collection]), **version)

    @rule(how=HOW, collection=collections, database=databases)
    def get_collection(self, how: How, collection: str, database: str) -> None:
        """Where it is, and where a collection of another database may be."""
        how = how._replace(key=None)
        self.do(how, "collection.get", **self.path(how, *self.homes[collection]))
        self.do(how, "collection.get", **self.path(how, *self.homes[database], collection))

    @rule(how=HOW, database=databases, deleted=st.booleans(), limit=st.integers(1, 3))
    def list_collections(self, how: How, database: str, deleted: bool, limit: int) -> None:
        path = self.path(how, *self.homes[database])
        self.compare(how.connection, "collection.list", **path, limit=limit, deleted=deleted)

    # Users.

    @rule(target=users, how=HOW, tenant=tenants, email=EMAILS, password=PASSWORDS, role=ROLES)
    def create_user(self, how: How, tenant: str, email: str, password: str, role: str) -> Target:
        path = self.path(how, tenant)
        answer = self.do(how, "user.create", **path, email=email, password=password, role=role)
        return self.made("user", answer)

    def user_path(self, how: How, user: str) -> dict[str, str]:
        tenant, _ = self.homes[user]
        return {"tenant": self.name(how, "tenant", tenant), "user": self.name(how, "user", user)}

    @rule(how=HOW, user=users, changes=optional(email=EMAILS, role=ROLES, password=PASSWORDS))
    def update_user(self, how: How, user: str, changes: Row) -> None:
        version = self.if_version(how, "user", user)
        self.do(how, "user.update", **self.user_path(how, user), **changes, **version)

    @rule(
        how=HOW,
        user=users,
        verb=st.sampled_from(["activate", "activate", "suspend", "deactivate", "delete"]),
    )
    def move_user(self, how: How, user: str, verb: str) -> None:
        version = self.if_version(how, "user", user)
        self.do(how, f"user.{verb}", **self.user_path(how, user), **version)

    @rule(how=HOW, user=users, tenant=tenants)
    def get_user(self, how: How, user: str, tenant: str) -> None:
        """Where the user is, and where a user of another tenant may be."""
        how = how._replace(key=None)
        self.do(how, "user.get", **self.user_path(how, user))
        self.do(how, "user.get", **self.path(how, tenant), user=user)

    @rule(how=HOW, tenant=tenants, email=EMAILS, password=PASSWORDS)
    def verify_password(self, how: How, tenant: str, email: str, password: str) -> None:
        how = how._replace(key=None)
        self.do(how, "user.verify_password", **self.path(how, tenant), email=email, password=password)

    @rule(how=HOW, tenant=tenants, limit=st.integers(1, 3))
    def list_users(self, how: How, tenant: str, limit: int) -> None:
        self.compare(how.connection, "user.list", **self.path(how, tenant), limit=limit)
