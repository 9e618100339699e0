"""What `get_or_create` and `create` take for the same thing, and what for another: never a lossy form."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import akidb
from akidb.client.connect import bind
from akidb.client.handles.client import Client
from akidb.deployment.composition import Runtime
from akidb.deployment.local import LocalOperations
from akidb.settings import Settings

T = TypeVar("T")
SECRET = "correct horse"
LOOK_ALIKES = [
    ("Müller", "Muller"),
    ("Mu\u0308ller", "Müller"),
    ("李", "里"),
    ("C++", "C"),
    ("Acme, Inc.", "ACME Inc"),
    ("!", "?"),
    ("Straße", "Strasse"),
    ("x" * 63 + "1", "x" * 63 + "2"),
]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[akidb.Client]:
    with akidb.connect(tmp_path / "data", models_dir=str(tmp_path / "models")) as client:
        yield client


@pytest.fixture(params=["directory", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[akidb.Client, akidb.Client]]:
    """Two clients of one place, of two processes where a place can have two."""
    if request.param == "directory":
        ends = [bind(tmp_path / "data", Settings(models_dir=str(tmp_path))) for _ in range(2)]
    else:
        url = request.getfixturevalue("postgres_url")
        ends = [LocalOperations(Runtime(url, Settings(models_dir=str(tmp_path)))) for _ in range(2)]
    yield Client(ends[0]), Client(ends[1])
    for end in ends:
        end.close()


def at_once(*calls: Callable[[], T]) -> list[T]:
    found: list[T] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> None:
        barrier.wait()
        found.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(calls)
    return found


def conflict(call: Callable[..., object], *args: Any, **named: Any) -> Any:
    with pytest.raises(akidb.AlreadyExists) as caught:
        call(*args, **named)
    return caught.value.fields["field"]


@pytest.mark.parametrize("names", LOOK_ALIKES)
def test_customers_with_similar_names_get_tenants_of_their_own(
    db: akidb.Client, names: tuple[str, str]
) -> None:
    by_id = [db.tenants.get_or_create(name, external_id=f"c-{n}") for n, name in enumerate(names)]
    assert [tenant.name for tenant in by_id] == list(names)
    assert [tenant.external_id for tenant in by_id] == ["c-0", "c-1"]
    assert len({tenant.id for tenant in by_id}) == len({tenant.slug for tenant in by_id}) == 2
    for n, name in enumerate(names):
        assert db.tenants.get_or_create(name, external_id=f"c-{n}").id == by_id[n].id
        assert db.tenants.get_or_create(name).id == by_id[n].id
        assert db.tenants.get_or_create(name, slug=by_id[n].slug).id == by_id[n].id


@pytest.mark.parametrize("names", LOOK_ALIKES)
def test_similar_names_alone_give_two_tenants(db: akidb.Client, names: tuple[str, str]) -> None:
    one, other = map(db.tenants.get_or_create, names)
    assert one.id != other.id
    assert [db.tenants.get_or_create(name).id for name in names] == [one.id, other.id]
    assert [tenant.id for tenant in db.tenants.list(name=names[1])] == [other.id]
    assert db.tenants.count(name=names[0]) == 1


@pytest.mark.parametrize("names", LOOK_ALIKES)
def test_create_gives_another_name_a_slug_with_suffix(db: akidb.Client, names: tuple[str, str]) -> None:
    one, other = map(db.tenants.create, names)
    assert one.slug != other.slug
    assert other.slug.rpartition("-")[0] == one.slug[:54].rstrip("-")
    assert conflict(db.tenants.create, names[0]) == "slug"  # the same name is most likely a repetition
    assert conflict(db.tenants.create, names[1]) == "slug"


def test_two_customers_may_have_the_same_name(db: akidb.Client) -> None:
    one = db.tenants.get_or_create("Acme", external_id="c-1")
    other = db.tenants.get_or_create("Acme", external_id="c-2")
    third = db.tenants.create("Acme", external_id="c-3")
    assert len({one.id, other.id, third.id}) == 3
    assert db.tenants.get_or_create("Acme", external_id="c-2").id == other.id
    with pytest.raises(akidb.AlreadyExists, match="several tenants") as caught:
        db.tenants.get_or_create("Acme")
    assert caught.value.fields == {"entity": "tenant", "field": "name", "value": "Acme"}
    assert db.tenants.get_or_create("Acme", slug=other.slug).id == other.id
    assert db.tenants.count() == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Other"),
        ("slug", "other"),
        ("status", akidb.TenantStatus.PROVISIONING),
        ("memory_quota_bytes", 7),
        ("storage_quota_bytes", 7),
        ("qps_quota", 7),
        ("metadata", {"plan": 1.5}),
        ("metadata", {}),
    ],
)
def test_found_tenant_that_differs_is_a_conflict(db: akidb.Client, field: str, value: Any) -> None:
    same = {
        "name": "Acme",
        "slug": "acme",
        "status": akidb.TenantStatus.ACTIVE,
        "qps_quota": 5,
        "metadata": {"plan": 1},
    }
    tenant = db.tenants.create(external_id="c-1", **same)  # type: ignore[arg-type]
    other: Any = {**same, field: value}
    assert db.tenants.get_or_create(external_id="c-1", **same).id == tenant.id  # type: ignore[arg-type]
    assert conflict(db.tenants.get_or_create, external_id="c-1", **other) == field
    if field != "slug":
        assert conflict(db.tenants.get_or_create, **other) == field
    assert db.tenants.get(tenant.id).entity == tenant.entity
    assert db.tenants.count() == 1


def test_slug_and_external_id_of_different_tenants_is_a_conflict(db: akidb.Client) -> None:
    db.tenants.create("One", external_id="c-1")
    db.tenants.create("Two")
    assert conflict(db.tenants.get_or_create, "One", slug="two", external_id="c-1") == "slug"
    assert conflict(db.tenants.get_or_create, "Two", slug="two", external_id="c-2") == "slug"


@pytest.mark.parametrize(
    ("options", "field"), [({}, "name"), ({"slug": "acme"}, "slug"), ({"external_id": "c-1"}, "external_id")]
)
def test_deleted_tenant_is_a_conflict(db: akidb.Client, options: dict[str, str], field: str) -> None:
    db.tenants.create("Acme", slug="acme", external_id="c-1").delete()
    assert conflict(db.tenants.get_or_create, "Acme", **options) == field
    assert db.tenants.count() == 0


def test_deleted_tenant_of_another_name_keeps_its_slug(db: akidb.Client) -> None:
    gone = db.tenants.create("Müller")
    gone.delete()
    assert db.tenants.get_or_create("Muller").slug.startswith("muller-")
    gone.restore()
    assert db.tenants.get_or_create("Müller").id == gone.id


def test_invalid_argument_is_reported_before_anything_is_found(db: akidb.Client) -> None:
    aki = db.tenants.create("Aki Labs", external_id="c-1")
    kb = aki.databases.create("kb")
    notes = kb.collections.create("notes", dimension=16)
    aki.users.create("al@x", password=SECRET)
    wrong: list[tuple[Callable[..., object], dict[str, Any], str]] = [
        (db.tenants.get_or_create, {"name": "Aki Labs", "qps_quota": "many"}, "qps_quota"),
        (db.tenants.get_or_create, {"name": "Aki Labs", "slug": str(aki.id)}, "slug"),
        (aki.databases.get_or_create, {"name": str(kb.id)}, "name"),
        (kb.collections.get_or_create, {"name": str(notes.id), "dimension": 16}, "name"),
        (kb.collections.get_or_create, {"name": "notes", "metric": "l3"}, "metric"),
        (aki.users.get_or_create, {"email": str(aki.id), "password": SECRET}, "email"),
        (aki.users.get_or_create, {"email": "al@x", "password": "short"}, "password"),
    ]
    for call, given, field in wrong:
        with pytest.raises(akidb.InvalidArgument) as caught:
            call(**given)
        assert caught.value.field == field
    with pytest.raises(TypeError, match="nmae"):
        db.tenants.get_or_create("Aki Labs", nmae="x")  # type: ignore[call-arg]


def test_found_database_that_differs_is_a_conflict(db: akidb.Client) -> None:
    aki = db.tenants.create("Aki Labs")
    kb = aki.databases.create("kb", description="notes")
    assert aki.databases.get_or_create("kb").id == kb.id
    assert aki.databases.get_or_create("kb", description="notes").id == kb.id
    assert conflict(aki.databases.get_or_create, "kb", description="other") == "description"
    assert conflict(aki.databases.get_or_create, "kb", description="") == "description"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimension", 17),
        ("metric", "l2"),
        ("embedding_model", "hash"),
        ("hnsw_m", 5),
        ("hnsw_ef_construction", 50),
        ("max_document_count", 9),
    ],
)
def test_found_collection_that_differs_is_a_conflict(db: akidb.Client, field: str, value: Any) -> None:
    kb = db.tenants.create("Aki Labs").databases.create("kb")
    notes = kb.collections.create("notes", dimension=16)
    assert kb.collections.get_or_create("notes", dimension=16, metric=akidb.Metric.COSINE).id == notes.id
    assert conflict(kb.collections.get_or_create, "notes", **{field: value}) == field


def test_found_user_with_another_role_is_a_conflict(db: akidb.Client) -> None:
    users = db.tenants.create("Aki Labs").users
    al = users.create("al@x", password=SECRET)
    assert users.get_or_create("AL@x", password="another one").id == al.id  # case is ignored
    assert users.get_or_create("al@x", password=SECRET, role=akidb.UserRole.VIEWER).id == al.id
    assert conflict(users.get_or_create, "al@x", password=SECRET, role=akidb.UserRole.ADMIN) == "role"
    assert users.get_or_create("bo@x", password=SECRET).role == akidb.UserRole.VIEWER


@pytest.mark.parametrize(
    ("first", "similar"),
    [("strasse@x", "straße@x"), ("fi@x", "\ufb01@x"), ("a1@x", "a\u2460@x"), ("ss@x", "\u1e9e@x")],
)
def test_user_whose_email_only_resembles_is_a_conflict(db: akidb.Client, first: str, similar: str) -> None:
    users = db.tenants.create("Aki Labs").users
    users.create(first, password=SECRET)
    assert conflict(users.create, similar, password=SECRET) == "email"
    assert conflict(users.get_or_create, similar, password=SECRET) == "email"


@pytest.mark.parametrize(
    ("first", "same"),
    [
        ("al@x", "AL@X"),
        ("müller@x", "MU\u0308LLER@x"),
        ("οδος@x", "ΟΔΟΣ@x"),
        ("straße@x", "STRA\u1e9eE@x"),
        ("k@x", "\u212a@x"),
    ],
)
def test_user_is_found_ignoring_case_and_composition(db: akidb.Client, first: str, same: str) -> None:
    users = db.tenants.create("Aki Labs").users
    made = users.create(first, password=SECRET)
    assert users.get(same).id == made.id
    assert users.get_or_create(same, password="another one").id == made.id


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("options", [{}, {"external_id": "c-1"}])
def test_concurrent_requests_for_one_tenant_get_one(
    two: tuple[akidb.Client, akidb.Client], taken: bool, options: dict[str, Any]
) -> None:
    if taken:
        two[0].tenants.create("Muller")
    calls = [lambda db=db: db.tenants.get_or_create("Müller", **options).id for db in two * 2]
    assert len(set(at_once(*calls))) == 1
    assert two[1].tenants.count(name="Müller") == 1


def test_concurrent_requests_for_similar_tenants_get_one_each(
    two: tuple[akidb.Client, akidb.Client],
) -> None:
    asked = [("Müller", "c-1"), ("Muller", "c-2"), ("MULLER", "c-3"), ("Muller", "c-4")]
    calls = [
        lambda db=db, name=name, external_id=external_id: db.tenants.get_or_create(
            name, external_id=external_id
        )
        for db, (name, external_id) in zip(two * 2, asked, strict=True)
    ]
    found = at_once(*calls)
    assert {(tenant.name, tenant.external_id) for tenant in found} == set(asked)
    assert len({tenant.slug for tenant in found}) == 4
