"""Clients that others generate from the OpenAPI description: they compile, and their calls succeed.

`make test-slow` installs the generators: for Python in an environment of its own, for TypeScript here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from akidb.api import openapi
from akidb.api.app import ROUTES

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "conformance"))  # its server serves here too

GENERATORS = Path(sys.prefix, "generators", "bin")
MODULES = HERE / "node_modules"

pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path) -> str:
    path = os.pathsep.join([str(GENERATORS), os.environ["PATH"]])  # the Python generator calls ruff
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(openapi.describe(ROUTES)))
    return path


def test_generated_python_client_compiles_and_works(description: Path, tmp_path: Path) -> None:
    from congruence_deployments import server

    generator, python = GENERATORS / "openapi-python-client", GENERATORS / "python"
    assert generator.exists(), "missing: it comes with `make test-slow`"
    options = ("--output-path", "aki_db_client", "--meta", "none", "--fail-on-warning")
    _run(generator, "generate", "--path", description, *options, cwd=tmp_path)
    shutil.copy(HERE / "calls.py", tmp_path)
    _run(python, "-m", "compileall", "-q", "aki_db_client", cwd=tmp_path)
    checked = ["-m", "mypy", "--strict", "--follow-imports=silent", "--python-executable", str(python)]
    _run(sys.executable, *checked, "--config-file=", "calls.py", cwd=tmp_path)
    with server(tmp_path / "data", tmp_path) as url:
        assert _run(python, "calls.py", url, cwd=tmp_path) == "done\n"


def test_generated_typescript_client_compiles_and_works(description: Path, tmp_path: Path) -> None:
    from congruence_deployments import server

    node = shutil.which("node")
    assert node, "this test needs Debian's package `nodejs`"
    assert MODULES.exists(), "missing: it comes with `make test-slow`"
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    _run(node, MODULES / "openapi-typescript/bin/cli.js", description, "-o", "schema.d.ts", cwd=tmp_path)
    made = (tmp_path / "schema.d.ts").read_text()
    assert "unknown | unknown" not in made, "a body is of any type"
    shutil.copy(HERE / "calls.ts", tmp_path)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]
    _run(node, MODULES / "typescript/bin/tsc", *options, "--types", "node", "calls.ts", cwd=tmp_path)
    with server(tmp_path / "data", tmp_path) as url:
        assert _run(node, "calls.js", url, cwd=tmp_path) == "done\n"
