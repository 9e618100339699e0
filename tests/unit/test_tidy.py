"""Rules for the whole tree: no unfinished markers, short files and functions, no blobs, tenant first."""

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from akidb.domain.ids import TenantId
from akidb.ports import metadata, search, stores

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
"""Lines that are not blank."""
MAX_FUNCTION_LINES = 70
MAX_BLOB_BYTES = 500_000

# Put together here, so that this file does not hold what it bans.
UNFINISHED = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "NotImplemented" + "Yet"))
INDEX = "|".join(
    (r"py" + r"pi\.org", "python" + "hosted", "(?:extra-)?index-" + "url[ =]", r"/simp" + r"le\b")
)

WITHOUT_TENANT = {
    "DatabaseRepository.expired": "the sweeper looks for those of all tenants",
    "CollectionRepository.expired": "the sweeper looks for those of all tenants",
    "CollectionRepository.scope": "it finds the tenant by what a user called it",
    "MetadataRecords.read": "a backup holds the rows of all tenants",
    "MetadataRecords.write": "so does what is restored; each row names its tenant",
    "MetadataRecords.known_ids": "IDs that come from elsewhere are looked for wherever they may be",
    "MetadataRecords.strays": "a backup looks for them among the rows of all tenants",
    "MetadataRecords.was_purged": "what was purged is nobody's any more",
    "MetadataRecords.is_empty": "a backup is restored where there is nobody",
    "StoreRegistry.list": "doctor looks at every store",
    "Outbox.purges": "stores of tenants that are gone",
    "Outbox.waiting": "maintenance tells every store what it was not told",
    "Outbox.faults": "a backup looks for them among the entries of all tenants",
    "Outbox.depth": "a figure for operators",
    "TenantStores.names": "doctor looks for those that no tenant has",
    "TenantStores.displacements": "maintenance looks at every open store",
    "TenantStores.altered": "those of all tenants must not be used",
    "VectorIndex.tenants": "maintenance forgets those that another process deleted",
    "VectorIndex.wait": "what is built in the background is of any tenant",
    "VectorIndex.close": "the process ends what it builds for all of them",
    "TenantStores.figures": "figures for operators",
    "TenantStores.open_count": "a figure for operators",
    "TenantStores.checkpoint_idle": "maintenance looks at every open store",
    "TenantStores.close": "the process lets go of all of them",
}
"""Methods of tenant-owned ports that do not begin with the tenant, and why they may."""


def tracked() -> Iterator[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            yield ROOT / name


def lines_with(pattern: str) -> list[str]:
    wanted = re.compile(pattern)
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(content.decode().splitlines(), start=1)
            if wanted.search(line)
        ]
    return found


SOURCES = sorted(path for path in tracked() if path.suffix == ".py")
EVERY_SOURCE = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def test_no_unfinished_markers() -> None:
    assert lines_with(rf"\b(?:{UNFINISHED})\b") == []


def test_no_file_names_package_index() -> None:
    assert lines_with(INDEX) == []


@EVERY_SOURCE
def test_files_and_functions_are_short_and_files_have_docstrings(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert sum(bool(line.strip()) for line in text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name
    assert ast.get_docstring(tree) or not text.strip(), "no docstring"


def test_no_large_files_are_tracked() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > MAX_BLOB_BYTES] == []


def test_no_database_weights_or_log_files_are_tracked() -> None:
    kinds = {".db", ".sqlite", ".log", ".onnx", ".safetensors", ".pid", ".wal"}
    assert [str(path) for path in tracked() if path.suffix in kinds] == []


def owned_methods() -> Iterator[tuple[str, Any]]:
    """Every method of every port that holds what belongs to tenants."""
    ports = [port for port in vars(metadata).values() if getattr(port, "_is_protocol", False)]
    # These are asked for a tenant itself, or only lead to the others.
    leave_out = {"Protocol", "Answers", "TenantCatalog", "MetadataTransaction", "MetadataStore"}
    leave_out.add("LegacyManifests")  # a migration is about all tenants
    for port in [*ports, stores.TenantStores, search.VectorIndex]:
        if port.__name__ not in leave_out:
            for name, method in inspect.getmembers(port, inspect.isfunction):
                if not name.startswith("_"):
                    yield f"{port.__name__}.{name}", method


def begins_with_the_tenant(method: Any) -> bool:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    if not parameters:
        return False
    if parameters[0].name == "tenant_id":
        return bool(get_type_hints(method, vars(search) | vars(stores))["tenant_id"] is TenantId)
    entity = get_type_hints(method)[parameters[0].name]
    return "tenant_id" in getattr(entity, "__struct_fields__", ())


def test_methods_on_tenant_data_take_tenant_first() -> None:
    methods = dict(owned_methods())
    assert len(methods) > 30
    assert {name for name, method in methods.items() if not begins_with_the_tenant(method)} == set(
        WITHOUT_TENANT
    )
