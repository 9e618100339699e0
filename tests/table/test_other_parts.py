"""Errors, settings, field kinds, embedders and indexes have all their parts; missing parts are named."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import akidb.api.errors
import akidb.embedding
import akidb.search
from akidb import settings
from akidb.api.errors import STATUS
from akidb.cli.errors import EXIT_STATUS
from akidb.deployment.models import local_models
from akidb.domain import errors, fields
from akidb.domain.errors import AkiDBError
from akidb.embedding.catalog import CATALOG
from akidb.operations import OPERATIONS
from akidb.settings import Settings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/conformance"))  # the suites that every index passes


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def classes_of(module: ModuleType) -> Iterator[type[Any]]:
    """The classes that a module makes itself."""
    for each in vars(module).values():
        if isinstance(each, type) and each.__module__ == module.__name__:
            yield each


def classes_below(package: ModuleType) -> Iterator[type[Any]]:
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield from classes_of(importlib.import_module(found.name))


ERRORS = [
    kind
    for module in (errors, akidb.api.errors)
    for kind in classes_of(module)
    if issubclass(kind, AkiDBError) and kind is not AkiDBError
]
SETTINGS = msgspec.structs.fields(Settings)
DECLARED = {
    name: rules for name, hint in vars(fields).items() if (rules := fields.rules_of(hint)) is not None
}
USED = {id(rules) for row in OPERATIONS.values() for rules in row.fields.values()}


@pytest.mark.parametrize("kind", ERRORS)
def test_error_has_status_codes_and_is_documented(kind: type[AkiDBError]) -> None:
    assert kind in STATUS, "no row in STATUS of akidb/api/errors.py"
    assert f"`{kind.code}`" in page("http"), "not in docs/http.md"
    if kind.__module__ == errors.__name__:
        assert kind in EXIT_STATUS, "no row in EXIT_STATUS of akidb/cli/errors.py"
        assert f"`{kind.code}`" in page("cli"), "not in docs/cli.md"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_setting_is_documented(setting: msgspec.structs.FieldInfo) -> None:
    row = f"| `{setting.name}` | `AKIDB_{setting.name.upper()}` | "
    (found,) = [line for line in page("settings").splitlines() if line.startswith(row)] or [""]
    assert found, "not in docs/settings.md"
    if setting.default is not None:
        assert found.startswith(f"{row}`{setting.default}` |"), "another default in docs/settings.md"


@pytest.mark.parametrize("name", DECLARED)
def test_field_kind_is_used_by_an_operation(name: str) -> None:
    assert id(DECLARED[name]) in USED, "no operation of akidb/operations has such a field"


def test_every_embedder_belongs_to_a_model() -> None:
    """The suites of `tests/conformance/test_embedders.py` run on every model of the catalog."""
    embedders = {kind for kind in classes_below(akidb.embedding) if hasattr(kind, "embed")}
    models = local_models(settings.load())
    for name in CATALOG:
        models.pull(name)
    assert {type(models.load(name)) for name in CATALOG} == embedders, "no model of CATALOG is loaded as it"


def test_every_index_runs_the_search_suites() -> None:
    from search_samples import INDEXES

    indexes = {
        kind for kind in classes_below(akidb.search) if hasattr(kind, "search") and hasattr(kind, "forget")
    }
    assert indexes == set(INDEXES), "not in INDEXES of tests/conformance/search_samples.py"
