"""`akidb doctor --repair`: a store that cannot be opened can be used again, and no document is deleted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import akidb as library
from akidb.deployment.owner import OwnerLock
from akidb.documents.sqlite import SqliteTenantStore
from akidb.domain.ids import StoreId, TenantId
from akidb.sql.sqlite import SqliteFile

from .conftest import Run

DATA = Path("akidb-data")
VECTOR = [1.0] * 16
STRANGER = "00000000-0000-7000-8000-000000000000"


def upsert(tenant: str, *ids: str) -> None:
    with library.connect(DATA) as db:
        notes = db.tenants.get(tenant).databases.get("d").collections.get("c")
        notes.upsert([{"id": id, "vector": VECTOR} for id in ids])


def count(tenant: str) -> int:
    with library.connect(DATA) as db:
        return db.tenants.get(tenant).databases.get("d").collections.get("c").count()


def execute(path: Path, statement: str) -> None:
    file = SqliteFile(path)
    with file.write() as connection:
        connection.exec_driver_sql(statement)
    file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The store of the first of two tenants with two documents each."""
    with library.connect(DATA) as db:
        for name in ("one", "two"):
            database = db.tenants.create(name).databases.create("d")
            database.collections.create("c", dimension=16)
        tenant_id = db.tenants.get("one").id
    for name in ("one", "two"):
        upsert(name, "a", "b")
    return DATA.absolute() / "tenants" / f"{tenant_id}.db"


def replaced_by_second_owner(path: Path) -> None:
    """Two processes created the store: one is named in the metadata, the file is the other's."""
    path.unlink()
    SqliteTenantStore.create(path, TenantId.parse(path.stem), StoreId(bytes(16)), synchronous="full")


def of_other_incarnation(path: Path) -> None:
    execute(path, f"UPDATE control SET store_id = x'{'07' * 16}', tenant_status = 'suspended'")


def unregistered(path: Path) -> None:
    raw = path.stem.replace("-", "")
    execute(DATA / "metadata.db", f"DELETE FROM tenant_stores WHERE tenant_id = x'{raw}'")


def damaged(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def of_other_tenant(path: Path) -> None:
    [other] = [each for each in path.parent.glob("*.db") if each != path]
    shutil.copy(other, path)


def without_control_row(path: Path) -> None:
    execute(path, "DELETE FROM control")


CASES: dict[str, tuple[Callable[[Path], object], int, bool]] = {
    "replaced by second owner": (replaced_by_second_owner, 0, False),
    "of other incarnation": (of_other_incarnation, 2, False),
    "unregistered": (unregistered, 2, False),
    "missing": (Path.unlink, 0, False),
    "empty": (lambda path: path.write_bytes(b""), 0, False),
    "damaged": (damaged, 0, True),
    "of other tenant": (of_other_tenant, 0, True),
    "without control row": (without_control_row, 0, True),
}
"""What is done to the file, how many documents it has after the repair, and whether it is moved away."""


@pytest.mark.parametrize("case", CASES)
def test_store_is_usable_after_repair(case: str, path: Path, akidb: Run) -> None:
    spoil, kept, is_moved = CASES[case]
    spoil(path)
    content = path.read_bytes() if path.exists() else b""
    assert akidb("doctor").status == 1
    planned = akidb("doctor", "--repair", "--dry-run", "--json").json
    assert [repair["store"] for repair in planned["repairs"]] == [path.stem]
    assert planned["done"] is False
    assert (path.read_bytes() if path.exists() else b"") == content
    assert akidb("doctor").status == 1, "a dry run changes nothing"

    assert akidb("doctor", "--repair").status == 2, "it asks first"
    assert akidb("doctor", "--repair", "--yes", "--json").json["done"] is True
    assert akidb("doctor").status == 0
    assert count("one") == kept
    assert count("two") == 2
    upsert("one", "c")
    assert count("one") == kept + 1
    assert akidb("doctor").status == 0
    aside = list((DATA / "backups").glob("*.db")) if (DATA / "backups").exists() else []
    assert [each.read_bytes() for each in aside] == ([content] if is_moved else [])
    assert akidb("doctor", "--repair").out == "nothing to repair\n"
    with library.connect(DATA) as db:
        *_, entry = db.tenants.get("one").audit()
    assert (entry.action, entry.reason) == ("store.repair", planned["repairs"][0]["kind"])


@pytest.mark.parametrize("name", [STRANGER, "notes"])
def test_file_of_no_tenant_is_moved_away(name: str, path: Path, akidb: Run) -> None:
    shutil.copy(path, path.with_name(f"{name}.db"))
    assert akidb("doctor").status == 1
    result = akidb("doctor", "--repair", "--yes")
    assert result.status == 0
    assert name in result.out
    assert akidb("doctor").status == 0
    [moved] = (DATA / "backups").glob("*.db")
    assert moved.name.startswith(f"{name}-aside-")
    assert count("one") == 2


def test_sound_directory_needs_no_repair(path: Path, akidb: Run) -> None:
    assert akidb("doctor", "--repair").out == "nothing to repair\n"
    assert akidb("doctor", "--repair", "--json").json == {"repairs": [], "done": False}
    assert akidb("doctor", "--yes").status == 2
    assert akidb("--data", "absent", "doctor", "--repair").status == 3


def test_directory_in_use_is_not_repaired(path: Path, akidb: Run) -> None:
    assert akidb("--url", "http://127.0.0.1:1", "doctor", "--repair").status == 2
    lock = OwnerLock(DATA)
    try:
        result = akidb("doctor", "--repair", "--yes")
    finally:
        lock.release()
    assert result.status == 1
    assert "is in use by process" in result.err


def test_moved_file_is_kept_until_its_tenant_is_purged(path: Path, akidb: Run) -> None:
    damaged(path)
    assert akidb("doctor", "--repair", "--yes").status == 0
    with library.connect(DATA, retention_seconds=0) as db:
        db.maintain()
        assert len(list((DATA / "backups").iterdir())) == 1
        db.tenants.delete("one")
        db.tenants.purge(path.stem)
        assert list((DATA / "backups").iterdir()) == []
