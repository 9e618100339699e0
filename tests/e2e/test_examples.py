"""The programs in `examples/` run, in process and on a server."""

import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import akidb
from surroundings import QUICK_HASHES

ROOT = Path(__file__).parents[2]
SAAS = ROOT / "examples" / "saas.py"
SERVE = f"""
{QUICK_HASHES}
import sys
from pathlib import Path
from akidb.api.server import serve
from akidb.settings import load
serve(Path(sys.argv[1]), load(), port=0, on_listening=lambda at: print(at.url, flush=True))
"""
STORY = """\
50 customers with 9 articles each
the boss of company 0 is admin, and None at another one
answers: phone-0, phone-1
unpaid: document_read is not allowed while the tenant is suspended (allowed: audit_read, metadata_read)
came back with 8 articles and a new ID: True
deleted and restored with 9 articles
"""


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(directory)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def run(target: str, folder: Path, capsys: pytest.CaptureFixture[str], *, model: str = "hash") -> str:
    """Run the program in this process, where passwords cost little; return what it printed."""
    runpy.run_path(str(SAAS))["main"](target, model, folder)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "on_server", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["directory", "server"]
)
def test_saas_runs_again_and_again_and_its_backup_can_be_restored(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], on_server: bool
) -> None:
    data = tmp_path / "data"
    if on_server:
        with serving(data) as url:
            told = run(url, folder, capsys)
    else:
        told = run(str(data), folder, capsys)
        assert run(str(data), folder, capsys).startswith(STORY)
    assert told.startswith(STORY)
    assert told.endswith("backup of 49 customers, complete: True\n")
    with akidb.connect(folder / "region") as region:
        assert region.tenants.count() == region.tenants.count(deleted=True) == 0
    restore = [sys.executable, "-m", "akidb", "--data", str(tmp_path / "restored"), "restore"]
    subprocess.run([*restore, str(folder / "nightly.akidb")], check=True, capture_output=True)
    with akidb.connect(tmp_path / "restored") as restored:
        assert restored.tenants.count() == 49
        moved = restored.tenants.find_external("c-002")
        assert moved is not None
        assert moved.databases.get("help-desk").collections.get("articles").count() == 8


@pytest.mark.slow
def test_saas_answers_with_the_real_model(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(str(tmp_path / "data"), folder, capsys, model="all-minilm-l6-v2")
    assert told.splitlines()[2] == "answers: phone-0, phone-1"


def test_readme_names_the_program_and_it_is_short() -> None:
    assert "](examples/saas.py)" in (ROOT / "README.md").read_text()
    assert len(SAAS.read_text().splitlines()) <= 200
