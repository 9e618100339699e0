"""Download of one file, whose SHA-256 and size are known, to a path where the next try continues it."""

import os
import re
import time
from pathlib import Path
from typing import IO

from akidb.domain.migration import Progress
from akidb.embedding import _files
from akidb.embedding.catalog import ModelFile
from akidb.embedding.web import Fault, Passing, Response, Web, host_of, pieces

TRIES = 5
"""Consecutive tries that may end without a further byte."""
MAX_TRIES = 100
WAIT_SECONDS = 0.25
"""Before the second try without a byte; twice as long before each further one."""
_START = re.compile(r"bytes (\d+)-")
_RANGE_NOT_SATISFIABLE = 416


class _Another(Exception):
    """The server has another file than the expected one."""


def fetch(web: Web, url: str, file: ModelFile, path: Path, progress: Progress) -> None:
    """Download `url` to `path`, continuing what is there. Reports the stage `download` in bytes.

    Raises Fault if the server sends another file, which is removed, or fails again and again. What arrived
    before that, or before an interrupt, is kept.
    """
    in_pieces, again, failures = path.exists(), False, 0
    for _ in range(MAX_TRIES):
        before = _size(path)
        try:
            if before < file.size_bytes:
                _continue(web, url, file, path, progress)
            if _size(path) == file.size_bytes and _files.sha256(path) == file.sha256:
                return
        except Passing:
            in_pieces, came = path.exists(), _size(path) > before
            failures = 0 if came else failures + 1
            if failures >= TRIES:
                raise
            if failures:
                time.sleep(WAIT_SECONDS * 2 ** (failures - 1))
            continue
        except _Another:
            pass
        path.unlink(missing_ok=True)
        if again or not in_pieces:
            raise Fault(f"{host_of(url)} has another file as {file.name}: its SHA-256 or size is wrong")
        in_pieces, again = False, True  # from the start: perhaps the pieces were of different files
    raise Fault(f"{host_of(url)} ended {MAX_TRIES} responses early")


def _continue(web: Web, url: str, file: ModelFile, path: Path, progress: Progress) -> None:
    """Request what is missing of the file and append it, or write all of it if the server sends all."""
    have = _size(path)
    progress("download", have, file.size_bytes)
    try:
        response = web.get(url, {"Range": f"bytes={have}-"} if have else {})
    except Fault as fault:
        if fault.status == _RANGE_NOT_SATISFIABLE:
            raise _Another from None
        raise
    with response:
        if response.status == 206:
            start = _START.match(response.headers.get("Content-Range", ""))
            if start is None or int(start[1]) != have:
                raise _Another
        else:
            have = 0
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and have + int(length) != file.size_bytes:
            raise _Another
        with open(path, "ab" if have else "wb", opener=_private) as target:
            _copy(response, target, have, file, progress)


def _copy(response: Response, target: IO[bytes], have: int, file: ModelFile, progress: Progress) -> None:
    for piece in pieces(response):
        have += len(piece)
        if have > file.size_bytes:
            raise _Another
        target.write(piece)
        progress("download", have, file.size_bytes)
    if have < file.size_bytes:
        raise Passing(
            f"{host_of(response.url)} closed the connection after {have} of {file.size_bytes} bytes"
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
