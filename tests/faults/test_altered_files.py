"""Files that another program writes to while they are open: nothing is acknowledged into them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_tools import add_tenant, at, document, documents, opened, unsound

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME, LocalOperations
from akidb.domain.errors import Unavailable
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import CreateTenant, ListTenants
from akidb.operations.upkeep import MaintainStores
from akidb.sql.sqlite import CHECKPOINT_BYTES

C = at("t")._asdict()


def write(operations: LocalOperations, *ids: str) -> None:
    operations.perform(UpsertDocuments(**C, documents=[document(id) for id in ids]))


def write_on(operations: LocalOperations) -> None:
    """Write until an error says that the metadata are altered: the last look may just have been."""
    for number in range(20_000):
        write(operations, f"n{number}")


def store_of(directory: Path) -> Path:
    [path] = (directory / TENANTS_NAME).glob("*.db")
    return path


def older(path: Path) -> Path:
    return path.parent.parent / f"older-{path.name}"


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def copied_over(path: Path) -> None:
    run("cp", older(path), path)


def copied_over_with_its_times(path: Path) -> None:
    run("cp", "-p", older(path), path)


def synchronized_in_place(path: Path) -> None:
    """As `rsync --inplace`: the same file, longer or shorter, without a moment in which it is empty."""
    content = older(path).read_bytes()
    with path.open("r+b") as file:
        file.write(content)


def cut(path: Path) -> None:
    run("truncate", "-s", "4096", path)


def emptied(path: Path) -> None:
    run("sh", "-c", f": > {path}")


def some_pages(path: Path) -> None:
    run("dd", "if=/dev/urandom", f"of={path}", "bs=4096", "seek=3", "count=2", "conv=notrunc")


DONE: list[Callable[[Path], None]] = [
    copied_over,
    copied_over_with_its_times,
    synchronized_in_place,
    cut,
    emptied,
    some_pages,
]
USUAL = {copied_over, cut, some_pages}
"""The rest is tried by the long tests."""
over = pytest.mark.parametrize(
    "done",
    [pytest.param(done, marks=[] if done in USUAL else [pytest.mark.slow]) for done in DONE],
    ids=lambda done: done.__name__,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with one tenant, of whose store and metadata an older copy lies beside it."""
    directory = tmp_path / "data"
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=documents(50)))
    for path in (store_of(directory), directory / METADATA_NAME):
        older(path).parent.mkdir(exist_ok=True)
        shutil.copy2(path, older(path))
    return directory


@pytest.fixture
def operations(directory: Path) -> Iterator[LocalOperations]:
    """The directory with documents that the copies do not have, in the files and in their logs."""
    with opened(directory) as operations:
        operations.perform(UpsertDocuments(**C, documents=documents(50, prefix="y")))
        operations.perform(CreateTenant(name="in the file"))
        for _ in range(2):
            assert operations.perform(MaintainStores()).problems == []
        write(operations, "z")
        operations.perform(CreateTenant(name="in the log"))
        yield operations


def refused(operations: LocalOperations, name: str) -> None:
    """Each use says what happened to which file, also the second time."""
    requests = (
        UpsertDocuments(**C, documents=[document("new")]),
        CountDocuments(**C),
        GetDocuments(**C, ids=["z"]),
        SearchDocuments(**C, vector=[1.0] * 16, top_k=3),
    )
    for request in (*requests, *requests):
        with pytest.raises(Unavailable, match=rf"{name} was .* while it was open"):
            operations.perform(request)


@over
def test_altered_store_is_not_used_and_can_be_repaired(
    done: Callable[[Path], None], directory: Path, operations: LocalOperations
) -> None:
    path = store_of(directory)
    done(path)
    refused(operations, path.name)
    assert path.name in str(unsound(operations))
    assert path.name in str(operations.perform(MaintainStores()).problems)
    add_tenant(operations, "u", "c")
    operations.perform(UpsertDocuments(**at("u")._asdict(), documents=[document("x")]))
    content = path.read_bytes()
    operations.close()
    assert path.read_bytes() == content, "closing moves no log into a file that it does not belong to"

    with opened(directory) as again:
        with pytest.raises(Unavailable, match=path.name):
            again.perform(CountDocuments(**C))
        assert len(unsound(again)) >= 1
        plan = again.repairing().plan()
        assert [repair.store for repair in plan] == [path.stem]
        again.repairing().carry_out(plan)
    with opened(directory) as again:
        assert again.repairing().plan() == []
        if done is not some_pages:
            assert unsound(again) == []
        if "copied" in done.__name__:
            assert again.perform(CountDocuments(**C)) in {50, 101}
        operations_of_other = again.perform(CountDocuments(**at("u")._asdict()))
        assert operations_of_other == 1


def test_store_of_another_tenant_in_place_is_set_aside_at_once(tmp_path: Path) -> None:
    """File and log are of two tenants: together they read as the store of one, with documents of both."""
    directory, killed = tmp_path / "data", tmp_path / "killed"
    with opened(directory) as operations:
        add_tenant(operations, "u", "c")
        operations.perform(UpsertDocuments(**at("u")._asdict(), documents=documents(30, prefix="secret")))
    foreign = store_of(directory)
    content = foreign.read_bytes()
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a", "b")
        [path] = {*(directory / TENANTS_NAME).glob("*.db")} - {foreign}
        with path.open("r+b") as file:  # as `cp` does: the same file
            file.write(content)
            file.truncate(len(content))
        shutil.copytree(directory, killed, ignore=shutil.ignore_patterns("*-shm", "owner.lock"))
        with pytest.raises(Unavailable, match=f"{path.name} was .* while it was open"):
            write(operations, "new")
        log = Path(f"{path}-wal").read_bytes()
    with opened(killed) as unnoticed, pytest.raises(Unavailable, match="the store of another tenant"):
        unnoticed.perform(CountDocuments(**C))
    with opened(directory) as again:
        repairing = again.repairing()
        [repair] = repairing.plan()
        assert (repair.store, repair.kind) == (path.stem, "set_aside")
        assert foreign.stem in repair.problem
        repairing.carry_out([repair])
    [kept] = (directory / "backups").glob("*.db")
    assert (kept.read_bytes(), Path(f"{kept}-wal").read_bytes()) == (content, log)
    with opened(directory) as again:
        assert again.repairing().plan() == []
        assert again.perform(CountDocuments(**at("u")._asdict())) == 30
        assert again.perform(CountDocuments(**C)) == 0
        write(again, "c")
        assert unsound(again) == []


@pytest.mark.parametrize("noticed", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("done", [copied_over, cut, some_pages], ids=lambda done: done.__name__)
def test_store_altered_while_nothing_uses_it_is_noticed_by_maintenance_or_closing(
    done: Callable[[Path], None], noticed: bool, directory: Path, operations: LocalOperations
) -> None:
    path = store_of(directory)
    done(path)
    if noticed:
        assert path.name in str(operations.perform(MaintainStores()).problems)
    operations.close()
    with opened(directory) as again:
        with pytest.raises(Unavailable, match=path.name):
            again.perform(CountDocuments(**C))
        assert unsound(again)


@over
def test_altered_metadata_are_not_used(
    done: Callable[[Path], None], directory: Path, operations: LocalOperations
) -> None:
    done(directory / METADATA_NAME)
    for request in (CreateTenant(name="V"), ListTenants(), CreateTenant(name="V")):
        with pytest.raises(Unavailable, match=METADATA_NAME):
            operations.perform(request)
    assert METADATA_NAME in str(unsound(operations))
    assert METADATA_NAME in str(operations.perform(MaintainStores()).problems)
    with pytest.raises(Unavailable, match=METADATA_NAME):
        operations.ready()


@over
def test_documents_are_not_written_beside_altered_metadata(
    done: Callable[[Path], None], directory: Path, operations: LocalOperations
) -> None:
    """Also of a collection that is known, and in a store that is open: both need no read of the metadata."""
    write(operations, "known")
    done(directory / METADATA_NAME)
    with pytest.raises(Unavailable, match=f"{METADATA_NAME} was .* while it was open"):
        write_on(operations)
    for request in (
        UpsertDocuments(**C, documents=[document("new")]),
        DeleteDocuments(**C, ids=["known"]),
        GetDocuments(**C, ids=["known"]),
        SearchDocuments(**C, vector=[1.0] * 16, top_k=3),
    ):
        with pytest.raises(Unavailable, match=f"{METADATA_NAME} was .* while it was open"):
            operations.perform(request)


def test_documents_are_not_written_beside_overwritten_log_of_metadata(
    directory: Path, operations: LocalOperations
) -> None:
    write(operations, "known")
    some_bytes(directory / f"{METADATA_NAME}-wal")
    with pytest.raises(Unavailable, match=f"write-ahead log of {METADATA_NAME}"):
        write_on(operations)


@pytest.mark.parametrize("done", [cut, emptied], ids=lambda done: done.__name__)
def test_truncated_log_is_noticed(
    done: Callable[[Path], None], directory: Path, operations: LocalOperations
) -> None:
    path = store_of(directory)
    write(operations, *(f"w{n}" for n in range(50)))
    done(Path(f"{path}-wal"))
    with pytest.raises(Unavailable, match=r"write-ahead log .* while it was open"):
        write(operations, "new")
    with pytest.raises(Unavailable, match=r"write-ahead log .* while it was open"):
        write(operations, "new")
    assert unsound(operations)


def some_bytes(log: Path) -> None:
    """The same file of the same length, with other bytes within some of its frames."""
    content = log.read_bytes()
    with log.open("r+b") as file:
        for at in range(32 + 24 + 2_000, len(content), 4_120):
            file.seek(at)
            file.write(bytes([content[at] ^ 0xFF]))


def test_overwritten_log_is_noticed_and_not_moved_into_the_file(
    directory: Path, operations: LocalOperations
) -> None:
    """SQLite checks the frames of its log only when it opens it, and copies them into the file later."""
    path = store_of(directory)
    write(operations, *(f"w{n}" for n in range(50)))
    content = path.read_bytes()
    some_bytes(Path(f"{path}-wal"))
    refused(operations, f"write-ahead log of {path.name}")
    assert path.name in str(unsound(operations))
    assert path.name in str(operations.perform(MaintainStores()).problems)
    operations.close()
    assert path.read_bytes() == content
    with opened(directory) as again:
        plan = again.repairing().plan()
        assert [repair.store for repair in plan] == [path.stem]
        again.repairing().carry_out(plan)
    assert len(list((directory / "backups").glob("*-wal"))) == 1, "what SQLite cannot read of the log is kept"
    with opened(directory) as again:
        assert unsound(again) == []
        assert again.perform(CountDocuments(**C)) >= 100


def test_overwritten_log_of_metadata_is_noticed(directory: Path, operations: LocalOperations) -> None:
    some_bytes(directory / f"{METADATA_NAME}-wal")
    for request in (CreateTenant(name="V"), ListTenants()):
        with pytest.raises(Unavailable, match=f"write-ahead log of {METADATA_NAME}"):
            operations.perform(request)


def test_own_checkpoints_are_not_taken_for_those_of_others(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        store_bytes = 0
        for round in range(40):
            many = [{**document(f"{round}-{n}"), "text": "x" * 8000} for n in range(30)]
            operations.perform(UpsertDocuments(**C, documents=many))
            operations.perform(CreateTenant(name=f"T {round}"))
            store_bytes = store_of(tmp_path).stat().st_size
        assert store_bytes > CHECKPOINT_BYTES, "the log was moved into the file at least once"
        for _ in range(2):
            assert operations.perform(MaintainStores()).problems == []
        assert operations.perform(CountDocuments(**C)) == 1200
        assert unsound(operations) == []


@pytest.mark.slow
def test_server_answers_unavailable_for_overwritten_store(directory: Path) -> None:
    program = [sys.executable, "-m", "akidb", "--data", str(directory)]
    count = [*program, "document", "count", "t/d/c"]
    serve = [*program, "--json", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        writing = [*program, "document", "import", "t/d/c", "-"]
        row = json.dumps(document("w"))
        subprocess.run(writing, input=row, text=True, check=True, capture_output=True)
        copied_over(store_of(directory))
        refused = subprocess.run(writing, input=row, text=True, check=False, capture_output=True)
        assert refused.returncode != 0
        assert "by another program while it was open" in refused.stderr
        asked = subprocess.run(count, text=True, check=False, capture_output=True)
        assert "by another program while it was open" in asked.stderr
        server.terminate()
    examined = subprocess.run([*program, "doctor"], text=True, check=False, capture_output=True)
    assert (examined.returncode, "WRONG" in examined.stdout) == (1, True)
    repaired = [*program, "doctor", "--repair", "--yes"]
    subprocess.run(repaired, check=True, capture_output=True)
    subprocess.run([*program, "doctor"], check=True, capture_output=True)
    assert subprocess.run(count, text=True, check=True, capture_output=True).stdout.strip() == "51"


def test_change_of_mode_or_link_is_no_alteration(directory: Path, operations: LocalOperations) -> None:
    path = store_of(directory)
    path.chmod(0o640)
    os.link(path, path.parent.parent / "second")
    (path.parent.parent / "second").unlink()
    assert path.read_bytes()
    write(operations, "new")
    assert unsound(operations) == []
