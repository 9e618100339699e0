"""What importing the package loads and exports."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import akidb

HEAVY = (
    "sqlalchemy",
    "alembic",
    "litestar",
    "uvicorn",
    "faiss",
    "onnxruntime",
    "numpy",
    "httpx",
    "asyncio",
    "ssl",
    "typer",
)


def _loaded(program: str) -> set[str]:
    script = f"import sys\n{program}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_akidb_imports_no_heavy_modules() -> None:
    assert _loaded("import akidb; akidb.connect, akidb.NotFound, akidb.Tenant") == set()


def test_server_connection_imports_no_store_or_model_runtime() -> None:
    loaded = _loaded("import akidb; akidb.connect('http://localhost:1').close()")
    assert loaded <= {"numpy", "ssl"}


def test_all_public_names_exist() -> None:
    for name in akidb.__all__:
        assert getattr(akidb, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = akidb.nothing_like_it  # type: ignore[attr-defined]


def test_version_matches_distribution() -> None:
    assert akidb.__version__ == version("akidb")
