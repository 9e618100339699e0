"""The built wheel is complete and works without the source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder))
    command = [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)]
    subprocess.run(command, check=True, cwd=folder)
    (wheel,) = folder.glob("akidb-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_contains_package_types_migrations_and_licence(unpacked: Path) -> None:
    assert (unpacked / "akidb" / "py.typed").exists()
    assert list((unpacked / "akidb" / "metadata" / "migrations" / "versions").glob("v0001_*.py"))
    assert list(unpacked.glob("akidb-*.dist-info/licenses/LICENSE"))
    assert not (unpacked / "tests").exists()


PROGRAM = """
import akidb, pathlib, sys
assert pathlib.Path(akidb.__file__).is_relative_to(sys.argv[1]), akidb.__file__
db = akidb.connect("data")
database = db.tenants.create("A").databases.create("d")
collection = database.collections.create("c", embedding_model="hash")
collection.upsert([{"id": "x", "text": "hello"}])
print(collection.search("hello")[0].id)
"""


def test_wheel_works_without_source_tree(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(unpacked)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "x", done.stderr
