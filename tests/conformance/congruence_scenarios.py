"""Calls about tenants and their rules, run on every deployment, and helpers for other scenarios.

Each scenario has its own tenants, so all can share one server.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from congruence_deployments import Transcript

import akidb

Scenario = Callable[[akidb.Client, Transcript], None]

DIMENSION = 16


def vectors(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def some_documents(count: int) -> list[akidb.DocumentInput | dict[str, Any]]:
    return [
        {
            "id": f"d{n:03}",
            "text": f"Text number {n}: ünï 日本",
            "vector": vector,
            "metadata": {"n": n, "even": n % 2 == 0, "tags": ["a", f"t{n % 3}"], "at": {"x": n / 4}},
        }
        for n, vector in enumerate(vectors(count))
    ]


def made(db: akidb.Client, slug: str, **options: Any) -> akidb.CollectionHandle:
    database = db.tenants.create(slug.title(), slug=slug).databases.create("kb")
    return database.collections.create("notes", **{"dimension": DIMENSION, **options})


def tenants(db: akidb.Client, saw: Transcript) -> None:
    """Create, get, find, change, and the versions that go with it."""
    saw(db.tenants.create, "Ténants Änd Co", external_id="crm-1", metadata={"plan": "pro", "n": [1, None]})
    tenant = db.tenants.get("tenants-and-co")
    for reference in (
        "tenants-and-co",
        tenant.id,
        str(tenant.id),
        "nobody",
        "0190aaaa-0000-7000-8000-000000000000",
    ):
        saw(db.tenants.get, reference)
        saw(db.tenants.find, reference)
        saw(db.tenants.exists, reference)
    saw(db.tenants.find_external, "crm-1")
    saw(db.tenants.find_external, "crm-2")
    nothing: Any
    for nothing in (None, "", 5, b"crm-1"):
        saw(db.tenants.find_external, nothing)
    saw(db.tenants.create, "Other", slug="tenants-and-co")
    saw(db.tenants.create, "Other", external_id="crm-1")
    saw(db.tenants.get_or_create, "Ténants Änd Co")
    saw(db.tenants.get_or_create, "Quite new", slug="tenants-new", qps_quota=5)
    saw(tenant.update, name="Renamed", slug="tenants-renamed", metadata={"plan": "free"}, if_version=1)
    saw(lambda: tenant)
    saw(tenant.update, qps_quota=9, if_version=1)
    saw(tenant.update, external_id=None, memory_quota_bytes=1 << 30, storage_quota_bytes=1 << 40)
    saw(tenant.update, slug="tenants-new")
    saw(tenant.update)
    saw(tenant.suspend, reason="late", if_version=7)
    saw(db.tenants.get, "tenants-and-co")
    saw(tenant.refresh)
    saw(lambda: [tenant.name, tenant.slug, tenant.status, tenant.version, tenant.qps_quota, tenant.metadata])
    saw(tenant.usage)


def identities(db: akidb.Client, saw: Transcript) -> None:
    """Names that differ but have one slug, and what is found but differs from what was asked for."""
    for number, name in enumerate(("Identity é", "Identity e", "Identity É", "Identity e")):
        saw(db.tenants.get_or_create, name, external_id=f"identity-{number}")
        saw(db.tenants.get_or_create, name)
        saw(db.tenants.create, name)
    tenant = db.tenants.get_or_create("Identity é", external_id="identity-0")
    saw(db.tenants.get_or_create, "Another", external_id="identity-0")
    saw(db.tenants.get_or_create, "Identity é", external_id="identity-0", slug="other", qps_quota=4)
    saw(db.tenants.get_or_create, "Identity é", qps_quota=4)
    saw(db.tenants.get_or_create, "Identity é", metadata={"a": 1})
    saw(db.tenants.list, name="Identity e")
    saw(db.tenants.list, name="identity e", sort="-name")
    saw(db.tenants.list, name="Identity e", name_contains="entity", limit=1)
    saw(db.tenants.count, name="Identity e")
    saw(tenant.databases.get_or_create, "kb", description="one")
    saw(tenant.databases.get_or_create, "kb", description="two")
    kb = tenant.databases.get("kb")
    saw(kb.collections.get_or_create, "notes", dimension=DIMENSION)
    saw(kb.collections.get_or_create, "notes", dimension=DIMENSION, hnsw_m=3)
    saw(kb.collections.get_or_create, "notes", metric="nearly")
    tenant.delete()
    saw(db.tenants.get_or_create, "Identity é", external_id="identity-0")
    saw(db.tenants.get_or_create, "Identity é")
    saw(db.tenants.list, name="Identity é", deleted=True)


def lists(db: akidb.Client, saw: Transcript) -> None:
    """Pages, their cursors, iteration over all pages, counts."""
    provisioning = akidb.TenantStatus.PROVISIONING
    for n in range(5):
        db.tenants.create(f"Listed {n}", status=provisioning)
    cursor = None
    for _ in range(3):
        page = db.tenants.list(status=provisioning, limit=2, cursor=cursor)
        saw(list, page)
        cursor = page.next_cursor or cursor
    saw(db.tenants.count, status=provisioning)
    saw(lambda: [t.slug for t in db.tenants if t.slug.startswith("listed-")])
    tenant = db.tenants.create("Lists")
    for name in ("b", "A", "a", "C.1", "_" * 3 + "x", "zz"):
        saw(tenant.databases.create, name, description=f"about {name}")
    first = tenant.databases.list(limit=2)
    saw(lambda: first)
    saw(tenant.databases.list, limit=1000, cursor=first.next_cursor)
    saw(lambda: list(tenant.databases))
    saw(tenant.databases.count)
    saw(db.tenants.list, cursor=first.next_cursor)
    collections = tenant.databases.get("a").collections
    for n in range(3):
        collections.create(f"c{n}", dimension=16 + n)
    saw(collections.list, limit=2)
    saw(lambda: list(collections))
    saw(collections.count)
    saw(collections.list, cursor=first.next_cursor)
    for limit in (0, 1001, -1):
        saw(tenant.databases.list, limit=limit)
    saw(tenant.databases.list, cursor="garbage")
    saw(tenant.databases.list, cursor="")


def lifecycles(db: akidb.Client, saw: Transcript) -> None:
    """Suspend, delete, restore and purge, at each level, and what states stop."""
    notes = made(db, "lives")
    notes.upsert(some_documents(3))
    tenant = db.tenants.get("lives")
    database = tenant.databases.get("kb")
    saw(tenant.activate)
    saw(tenant.suspend, reason="late")
    saw(notes.upsert, some_documents(1))
    saw(notes.search, vectors(1)[0])
    saw(tenant.update, name="x")
    saw(database.update, description="x")
    saw(tenant.databases.get, "kb")
    saw(tenant.activate)
    saw(notes.count)
    saw(database.update, state=akidb.DatabaseState.MIGRATING)
    saw(notes.count)
    saw(notes.upsert, some_documents(1))
    saw(database.update, state=akidb.DatabaseState.PROVISIONING)
    saw(database.update, state=akidb.DatabaseState.READY, name="kb2", schema_version=2)
    saw(lambda: database)
    for level, name in ((database.collections, "notes"), (tenant.databases, "kb2"), (db.tenants, "lives")):
        _delete_and_restore(level, name, saw)
    saw(notes.get, "d001")
    saw(database.collections.delete, "notes")
    saw(database.collections.create, "notes", dimension=16)
    saw(database.collections.get_or_create, "notes", dimension=16)
    saw(database.collections.purge, "notes")
    saw(database.collections.purge, "notes")
    saw(database.collections.restore, "notes")
    saw(database.delete, if_version=99)
    saw(database.delete)
    saw(database.restore)
    saw(database.delete)
    saw(database.purge)
    saw(database.refresh)
    saw(tenant.purge)
    saw(tenant.delete)
    saw(tenant.usage)
    saw(tenant.restore)
    saw(tenant.restore)
    saw(tenant.delete)
    saw(tenant.purge)
    saw(tenant.restore)
    saw(db.tenants.create, "Lives", slug="lives")


def _delete_and_restore(level: Any, name: str, saw: Transcript) -> None:
    saw(level.delete, name, if_version=77)
    saw(level.delete, name)
    saw(level.delete, name)
    saw(level.exists, name)
    saw(lambda: [handle.name for handle in level.list(deleted=True) if handle.name.lower() == name])
    saw(level.restore, name)
    saw(level.restore, name)


def audit(db: akidb.Client, saw: Transcript) -> None:
    """The record, by page, and after a purge."""
    notes = made(db, "audited")
    tenant = db.tenants.get("audited")
    with akidb.request(request_id="req-1"):
        tenant.suspend(reason="late")
    tenant.activate()
    saw(
        lambda: [
            (e.action, e.resource_type, e.resource_id, e.result, e.reason, e.metadata) for e in tenant.audit()
        ]
    )
    saw(lambda: [e.request_id for e in tenant.audit() if e.action == "tenant.suspend"])
    page = tenant.audit(limit=2)
    saw(lambda: [len(page), len(tenant.audit(cursor=page.next_cursor, limit=1))])
    saw(db.tenants.audit, "nobody")
    tenant.delete()
    tenant.purge()
    saw(lambda: db.tenants.audit(tenant.id, limit=1000)[-1].action)
    saw(notes.count)


def quotas(db: akidb.Client, saw: Transcript) -> None:
    """Limits of storage, of documents, of operations per second."""
    notes = made(db, "quotas", max_document_count=5)
    tenant = db.tenants.get("quotas")
    saw(notes.upsert, some_documents(6))
    saw(notes.upsert, some_documents(5))
    tenant.update(storage_quota_bytes=1)
    saw(notes.upsert, [{"id": "d000", "vector": vectors(1)[0], "text": "x" * 100}])
    saw(notes.delete, ["d000"])
    saw(tenant.usage)
    tenant.update(storage_quota_bytes=None)
    saw(notes.upsert, [{"id": "d000", "vector": vectors(1)[0], "text": "x" * 100}])
    saw(tenant.usage)
    free = {"memory_quota_bytes": None, "storage_quota_bytes": None, "qps_quota": None}
    saw(db.tenants.create, "Free", slug="free", **free)
    saw(db.tenants.get, "free")
    saw(db.tenants.get_or_create, "Free", slug="free", **free)
    saw(db.tenants.get_or_create, "Free", slug="free", qps_quota=200)
    saw(tenant.update, qps_quota=2**63 - 1)  # the number that is stored for no limit
    saw(tenant.update, qps_quota=-1)
    hurried = made(db, "hurried")
    db.tenants.get("hurried").update(qps_quota=1)
    for _ in range(4):
        try:
            hurried.count()
        except akidb.RateLimited as limited:
            error = limited
            assert 0 < error.retry_after_seconds <= 1

            def again(error: akidb.RateLimited = error) -> None:
                raise error

            saw(again)
            return
    raise AssertionError("four operations passed a limit of one per second")


def idempotency(db: akidb.Client, saw: Transcript) -> None:
    """A repeated request has one effect; another request with its key is refused."""
    for _ in range(2):
        with akidb.request(idempotency_key="create-it"):
            saw(db.tenants.create, "Idem potent")
    with akidb.request(idempotency_key="create-it"):
        saw(db.tenants.create, "Idem impotent")
    notes = made(db, "idem")
    for _ in range(2):
        with akidb.request(idempotency_key="write-it"):
            saw(notes.upsert, [{"vector": [1.0] * DIMENSION}])
    saw(notes.count)
    with akidb.request(idempotency_key="write-it"):
        saw(notes.upsert, [{"vector": [2.0] * DIMENSION}])
    for _ in range(2):
        with akidb.request(idempotency_key="drop-it"):
            saw(notes.delete, filter={"$id": {"$gte": "0"}})


def doctor(db: akidb.Client, saw: Transcript) -> None:
    """What is found when all is well. Each store is looked at, those of other scenarios too."""
    made(db, "examined").upsert(some_documents(3))
    tenant = db.tenants.get("examined")
    findings = db.doctor()
    saw(lambda: [finding for finding in findings if finding.store in (str(tenant.id), "metadata")])
    saw(lambda: all(finding.ok for finding in findings))


def maintenance(db: akidb.Client, saw: Transcript) -> None:
    """What is deleted and not past its retention stays."""
    made(db, "maintained").upsert(some_documents(3))
    db.tenants.get("maintained").databases.get("kb").delete()
    saw(db.maintain)
    saw(lambda: db.tenants.get("maintained").databases.restore("kb").name)


SCENARIOS: list[Scenario] = [
    tenants,
    identities,
    lists,
    lifecycles,
    audit,
    quotas,
    idempotency,
    doctor,
    maintenance,
]
