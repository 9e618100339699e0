"""Operations with `if_version` refuse any other than the current version and change nothing."""

import inspect
import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest
from congruence_deployments import server

import akidb
from akidb.client.handles import collections, databases, documents, tenants, users
from akidb.client.handles.users import UserHandle
from akidb.domain.errors import PreconditionFailed

HANDLES: list[type] = [
    tenants.Tenants,
    tenants.TenantHandle,
    databases.Databases,
    databases.DatabaseHandle,
    collections.Collections,
    documents.CollectionHandle,
    users.Users,
    UserHandle,
]
CONDITIONAL = [
    (handle.__name__, name)
    for handle in HANDLES
    for name, method in inspect.getmembers(handle, inspect.isfunction)
    if "if_version" in inspect.signature(method).parameters
]
KINDS = {"Tenant": "tenant", "Databas": "database", "Collection": "collection", "User": "user"}
FIELDS: dict[str, dict[str, Any]] = {
    "tenant": {"name": "Other"},
    "database": {"description": "other"},
    "collection": {"max_document_count": 7},
    "user": {"role": "admin"},
}
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["directory", "http"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[akidb.Client]:
    """AkiDB in process, then through a server."""
    directory, models = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("models")
    if request.param == "directory":
        with akidb.connect(directory, models_dir=str(models)) as made:
            yield made
        return
    with server(directory, models) as url, akidb.connect(url) as made:
        yield made


class Family:
    """A tenant with a database, a collection and a user, and each of them as it is now."""

    def __init__(self, client: akidb.Client) -> None:
        self.client = client
        self.slug = f"t{next(_numbers)}"
        self.tenant = client.tenants.create("Aki", slug=self.slug)
        self.database = self.tenant.databases.create("kb")
        self.collection = self.database.collections.create("notes", dimension=16)

    @cached_property
    def user(self) -> UserHandle:
        """Made when it is asked for: its password takes long."""
        return self.tenant.users.create("bob@x", password="a long enough password")

    def lists(self, kind: str) -> Any:
        """Where entities of a kind are listed."""
        owner = {"tenant": self.client, "collection": self.database}.get(kind, self.tenant)
        return getattr(owner, f"{kind}s")

    def found(self) -> dict[str, Any]:
        """Everything that can be seen of them; below a deleted one nothing is."""
        seen: dict[str, Any] = {}
        for kind in KINDS.values():
            for deleted in [{}] if kind == "user" else [{"deleted": False}, {"deleted": True}]:
                try:
                    page = self.lists(kind).list(limit=1000, **deleted)
                except akidb.NotFound as error:
                    seen[f"{kind} {deleted}"] = error.message
                    continue
                seen[f"{kind} {deleted}"] = [each.entity for each in page if self._is_own(each.entity)]
        seen["audit"] = [entry.audit_entry_id for entry in self.client.tenants.audit(self.tenant.id)]
        return seen

    def version(self, kind: str) -> int:
        """The version of one of them, deleted or not."""
        (entity,) = [
            entity
            for name, entities in self.found().items()
            if name.startswith(kind) and not isinstance(entities, str)
            for entity in entities
        ]
        version: int = entity.version
        return version

    def _is_own(self, entity: Any) -> bool:
        return bool(entity.tenant_id == self.tenant.id)

    def prepare(self, kind: str, verb: str) -> None:
        """Bring one of them to where the operation is possible."""
        handle = getattr(self, kind)
        if verb in {"restore", "purge"}:
            self.lists(kind).delete(handle.id)
        elif verb == "activate":
            handle.suspend()
        elif verb != "update" and kind in FIELDS:
            self.update(kind, {})

    def update(self, kind: str, how: dict[str, Any]) -> None:
        """Change fields, so that there is an older version."""
        if kind == "collection":
            self.lists(kind).update(self.collection.id, **FIELDS[kind], **how)
        else:
            getattr(self, kind).update(**FIELDS[kind], **how)

    def call(self, of: str, kind: str, verb: str, if_version: int) -> None:
        """Ask for the operation, of the handle itself or of the list that it stands in."""
        handle = getattr(self, kind)
        if verb == "update":
            self.update(kind, {"if_version": if_version})
        elif of.endswith("Handle"):
            getattr(handle, verb)(if_version=if_version)
        else:
            getattr(self.lists(kind), verb)(handle.id, if_version=if_version)


@pytest.mark.parametrize(("of", "verb"), CONDITIONAL, ids=[".".join(pair) for pair in CONDITIONAL])
def test_wrong_version_is_refused_and_changes_nothing(of: str, verb: str, client: akidb.Client) -> None:
    kind = next(kind for prefix, kind in KINDS.items() if of.startswith(prefix))
    family = Family(client)
    family.prepare(kind, verb)
    before, version = family.found(), family.version(kind)
    for wrong in {version + 1, version - 1, version + 100} - {0}:
        with pytest.raises(PreconditionFailed) as caught:
            family.call(of, kind, verb, wrong)
        assert caught.value.fields == {"entity": kind, "expected": wrong, "actual": version}
        assert family.found() == before
    family.call(of, kind, verb, version)
    assert family.found() != before


def test_each_entity_has_expected_conditional_operations() -> None:
    assert {(of.removesuffix("Handle"), verb) for of, verb in CONDITIONAL if of.endswith("Handle")} == {
        *(("Tenant", verb) for verb in ("update", "activate", "suspend", "delete", "restore", "purge")),
        *(("Database", verb) for verb in ("update", "delete", "restore", "purge")),
        *(("User", verb) for verb in ("update", "activate", "suspend", "deactivate", "delete")),
    }
    assert {verb for of, verb in CONDITIONAL if of == "Collections"} == {
        "update",
        "delete",
        "restore",
        "purge",
    }
