"""CONTRIBUTING.md: adds one item of each kind to a copy of the tree; tests must report its missing parts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()

OPERATION = '''

@operation("database.archive", "POST", ONE + "/archive", needs=Access.METADATA_WRITE)
class ArchiveDatabase(InDatabase[Database], kw_only=True, frozen=True):
    """Put a database away."""
'''
FIELD = '\nColour = Annotated[str, text("A colour.", 40)]\nShade = Annotated[str, text("A shade.", 40)]\n'
ERROR = '''

class Spoiled(AkiDBError):
    """It is no longer good."""

    code = "spoiled"
    title = "Spoiled"
'''
SETTING = '    patience_seconds: float = 3.5\n    """How long to be patient."""\n'
EMBEDDER = '''"""An embedder."""


class SpareEmbedder:
    """It embeds nothing."""

    def embed(self, texts: list[str]) -> None:
        """Embed nothing."""
'''
INDEX = '''"""An index."""


class SpareIndex:
    """It finds nothing."""

    def search(self) -> None:
        """Find nothing."""

    def forget(self) -> None:
        """Forget nothing."""
'''
WALKING = ["tests/table/test_table_parts.py", "tests/table/test_other_parts.py"]
ASKED_FOR = {
    "an operation": [
        "test_every_operation_has_a_handler[database.archive] - AssertionError: assert 'no handler' is None",
        "'no method of a handle'",
        "'no command, and no reason for none'",
        "'not in docs/http.md, docs/cli.md, docs/states.md, the work in docs/http.md'",
        "'no sample in tests/table/stage.py'",
    ],
    "a field": [
        "no method of a handle says colour",
        "docs/http.md is stale: run tools/generate_docs.py",
        "[Shade] - AssertionError: no operation of akidb/operations has such a field",
    ],
    "an error": ["[Spoiled] - AssertionError: no row in STATUS of akidb/api/errors.py"],
    "a setting": ["[patience_seconds] - AssertionError: not in docs/settings.md"],
    "an embedder": [
        "test_every_embedder_belongs_to_a_model - AssertionError: no model of CATALOG is loaded as it"
    ],
    "an index": ["not in INDEXES of tests/conformance/search_samples.py"],
}
"""What the tests say, by what was added and given no other place."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Test output for a copy of the tree to which one item of each kind was added."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("src", "docs", "tools", "tests"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "data", "node_modules")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    package = copy / "src/akidb"
    databases, settings = package / "operations/databases.py", package / "settings.py"
    put(databases, OPERATION)
    put(package / "domain/fields.py", FIELD)
    insert(databases, "    Colour,\n", before="    Cursor,\n")
    insert(databases, "    colour: Colour | None = None\n", before="    limit: Limit")
    put(package / "domain/errors.py", ERROR)
    insert(settings, SETTING, before="    tracing: str")
    put(package / "embedding/spare_embedder.py", EMBEDDER)
    put(package / "search/spare.py", INDEX)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *WALKING],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def put(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def insert(path: Path, text: str, *, before: str) -> None:
    first, found, rest = path.read_text().partition(before)
    assert found, before
    path.write_text(first + text + before + rest)


@pytest.mark.slow
@pytest.mark.parametrize("added", ASKED_FOR)
def test_addition_without_its_other_parts_is_reported(added: str, said: str) -> None:
    for message in ASKED_FOR[added]:
        assert message in said


@pytest.mark.parametrize("added", ASKED_FOR)
def test_contributing_page_describes_addition_and_names_existing_files(added: str) -> None:
    (told,) = re.findall(rf"^### Add {added}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert told.count("\n1. ") >= 1
    for name in re.findall(r"`((?:src|tests|docs|tools)/[\w/.-]+)`", told):
        assert (ROOT / name).exists(), name
