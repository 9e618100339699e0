"""Every row of the operation table has all its parts; missing parts are named."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import PARTS, ROOT, handler_fault
from stage import every_row

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.entities import Tenant
from akidb.domain.lifecycle import Access
from akidb.operations import OPERATIONS, Operation
from akidb.operations.declare import InTenant, operation
from akidb.operations.tenants import ListTenants
from akidb.services.dispatch import Handler
from akidb.settings import Settings


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalOperations]:
    place = tmp_path_factory.mktemp("table")
    operations = open_local(place / "data", Settings(models_dir=str(place), default_model="hash"))
    yield operations
    operations.close()


@pytest.fixture(scope="module")
def handlers(local: LocalOperations) -> dict[type[Any], Handler]:
    return local._runtime.dispatcher._handlers


@pytest.fixture
def bare() -> Iterator[Operation]:
    """A row without any of its parts."""

    @operation("tenant.rename", "POST", "/v1/tenants/{tenant}/rename", needs=Access.METADATA_WRITE)
    class RenameTenant(InTenant[Tenant], kw_only=True, frozen=True):
        name: str

    yield OPERATIONS[RenameTenant]
    del OPERATIONS[RenameTenant]


@every_row
@pytest.mark.parametrize("part", PARTS)
def test_every_operation_has_each_part(row: Operation, part: str) -> None:
    assert PARTS[part](row) is None


@every_row
def test_every_operation_has_a_handler(row: Operation, handlers: dict[type[Any], Handler]) -> None:
    assert handler_fault(row, handlers) is None


def test_handler_count_equals_operation_count(handlers: dict[type[Any], Handler]) -> None:
    assert handlers.keys() == OPERATIONS.keys()


def test_names_and_routes_are_unique() -> None:
    rows = OPERATIONS.values()
    assert len({row.name for row in rows}) == len(rows)
    routes = [(row.method, row.path) for row in rows if not row.local]
    assert len(set(routes)) == len(routes)


def test_every_missing_part_of_row_is_reported(bare: Operation, handlers: dict[type[Any], Handler]) -> None:
    faults = {part: fault(bare) for part, fault in PARTS.items()}
    faults["handler"] = handler_fault(bare, handlers)
    assert faults == {
        "handler": "no handler",
        "route": "no route",  # the table of routes was made before this row came
        "client": None,  # it comes with the row
        "handle": "no method of a handle",
        "command": "no command, and no reason for none",
        "docs": "not in docs/http.md, docs/cli.md, docs/states.md, the work in docs/http.md",
        "rules": "fields without rules: name",
        "sample": "no sample in tests/table/stage.py",
    }


@pytest.mark.parametrize("tool", ["generate_docs.py", "generate_aio.py"])
def test_generated_files_are_current(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, Path(ROOT, "tools", tool), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_operation_without_body_of_bytes_takes_none(local: LocalOperations) -> None:
    with pytest.raises(TypeError, match=r"tenant\.list takes no sink"):
        local.perform(ListTenants(), sink=io.BytesIO())
