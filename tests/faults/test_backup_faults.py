"""Restores and imports killed at random moments, and backups of many tenants with few file descriptors."""

import io
import random
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import archive_children
import numpy as np
import pytest
from archive_children import settings

from akidb.deployment.local import open_local, restore_local
from akidb.deployment.restore import MARKER_NAME
from akidb.domain.errors import AlreadyExists, NotFound, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CreateBackup, ExportTenant, ImportTenant
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, GetUsage, ListTenants
from akidb.operations.upkeep import CheckStores
from children import child, exit_code

NOTES = CollectionPath("t0", "kb", "notes")
DOCUMENTS = 2_000


def _fill(directory: Path, tenants: int, documents: int) -> None:
    operations = open_local(directory, settings())
    rng = np.random.default_rng(1)
    for number in range(tenants):
        slug = f"t{number}"
        operations.perform(CreateTenant(name=slug))
        operations.perform(CreateDatabase(tenant=slug, name="kb"))
        operations.perform(CreateCollection(tenant=slug, database="kb", name="notes", dimension=16))
        vectors = rng.standard_normal((documents, 16)).astype(np.float32)
        rows: list[Any] = [{"id": f"d{n}", "text": f"text {n}", "vector": v} for n, v in enumerate(vectors)]
        operations.perform(UpsertDocuments(**NOTES._replace(tenant=slug)._asdict(), documents=rows))
    operations.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with four tenants, beside it a backup of all and an export of one."""
    directory = tmp_path_factory.mktemp("source")
    _fill(directory / "data", 4, DOCUMENTS)
    operations = open_local(directory / "data", settings())
    for name, wanted in (("all", CreateBackup()), ("one", ExportTenant(tenant="t0"))):
        with (directory / name).open("wb") as target:
            operations.perform(wanted, sink=target)
    operations.close()
    return directory


def _killed(work: Any, directory: Path, archive: Path, seconds: float) -> bool:
    """Run a child and kill it so long after it began; tells whether it was done before."""
    reading, writing = Pipe(duplex=False)
    with reading, child(work, directory, archive, writing) as process:
        writing.close()
        assert reading.recv() == "ready"
        done = reading.poll(seconds) and reading.recv() == "done"
        process.kill()
        process.join()
    return done


@pytest.mark.slow
def test_killed_restore_leaves_nothing_or_a_directory_that_refuses_to_open(
    source: Path, tmp_path: Path
) -> None:
    rng = random.Random(3)
    outcomes, number = set[str](), 0
    while number < 12 or "unfinished" not in outcomes:
        assert number < 100, outcomes
        place, number = tmp_path / f"place{number}", number + 1
        if _killed(archive_children.restore, place, source / "all", rng.uniform(0, 0.5)):
            outcomes.add("done")
            operations = open_local(place, settings())
            assert operations.perform(GetUsage(tenant="t3")).documents == DOCUMENTS
            operations.close()
        elif place.exists() and any(place.iterdir()):
            outcomes.add("unfinished")
            assert (place / MARKER_NAME).exists()
            with pytest.raises(Unavailable, match="interrupted"):
                open_local(place, settings())
            with pytest.raises(AlreadyExists), (source / "all").open("rb") as archive:
                restore_local(place, settings(), archive)
        else:
            outcomes.add("nothing")


@pytest.mark.slow
def test_killed_import_is_atomic(source: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    outcomes, number, longest = set[str](), 0, 0.15
    while number < 12 or outcomes != {"there", "absent"}:
        assert number < 100, outcomes
        if outcomes == {"absent"} and number % 12 == 0:
            longest *= 2  # the machine is busy
        place, number = tmp_path / f"place{number}", number + 1
        open_local(place, settings()).close()
        acknowledged = _killed(archive_children.take_in, place, source / "one", rng.uniform(0, longest))
        operations = open_local(place, settings())
        try:
            assert operations.perform(CountDocuments(**NOTES._asdict())) == DOCUMENTS
            outcomes.add("there")
        except NotFound:
            assert not acknowledged
            outcomes.add("absent")
            assert operations.perform(ListTenants()).items == []
            archive = io.BytesIO((source / "one").read_bytes())
            assert operations.perform(ImportTenant(), source=archive).documents == DOCUMENTS
        assert all(finding.ok for finding in operations.perform(CheckStores()).items)
        assert operations.perform(GetUsage(tenant="t0")).documents == DOCUMENTS
        operations.close()
        assert list(place.rglob("tmp/*")) == []


@pytest.mark.slow
def test_500_tenants_are_backed_up_and_restored_with_256_descriptors(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("five-hundred")  # in memory: nothing of this is about a disk
    _fill(folder / "many", 500, 2)
    work = archive_children.with_few_descriptors
    assert exit_code(work, folder / "many", folder / "restored", 500, timeout_seconds=120) == 0
