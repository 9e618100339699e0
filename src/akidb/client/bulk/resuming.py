"""How far a load has come, in a small file, so that it can be resumed after a crash."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from akidb.client.bulk.parts import Position
from akidb.client.files import writing
from akidb.client.results import UploadResult
from akidb.domain.errors import InvalidArgument

SUFFIX: Final = ".akidb-load"
_ENDS_BYTES: Final = 64 * 1024
_MAX_STATE_BYTES: Final = 2**20
_VERSION: Final = 1


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int
    options: dict[str, Any]
    """The collection and the arguments, which must be the same."""
    size: int
    """Of the file in bytes, when the load began."""
    digest: str
    """SHA-256 of its first and last 64 KiB."""
    key: str
    """Begins the idempotency keys of batches that must not be written twice."""
    rows: int = 0
    lines: int = 0
    offset: int = 0
    done: dict[str, Any] = {}


class Progress:
    """The state of a load. It is written after each batch, before the next one begins."""

    def __init__(self, file: Path, state: Path, options: Mapping[str, Any], *, may_grow: bool) -> None:
        """Read the state, or begin one. Raises InvalidArgument(`resume`) for that of another load or file."""
        self._path = state
        self._state = self._begun(file, options) if not state.exists() else self._read()
        self.resumed = bool(self._state.rows)
        if self._state.options != options:
            names = sorted({*options, *self._state.options})
            other = next(n for n in names if self._state.options.get(n) != options.get(n))
            self._refuse(f"is of a load with another {other}: {self._state.options.get(other)!r}")
        size = file.stat().st_size
        if size < self._state.size or (size > self._state.size and not may_grow):
            self._refuse(f"is of another {file}, which had {self._state.size} bytes")
        if _digest(file, self._state.size) != self._state.digest:
            self._refuse(f"is of another content of {file}")
        self._write()

    @property
    def position(self) -> Position:
        """The end of the last batch that was acknowledged."""
        return Position(self._state.rows, self._state.lines, self._state.offset)

    @property
    def done(self) -> dict[str, Any]:
        """What was written, as the fields of an UploadResult; empty at the beginning."""
        return self._state.done

    def key(self, row: int) -> str:
        """Return the idempotency key of the batch that begins with a row."""
        return f"{self._state.key}-{row}"

    def acknowledge(self, position: Position, done: UploadResult) -> None:
        """Record that everything before a position is written."""
        state = self._state
        state.rows, state.lines, state.offset = position
        names = UploadResult.__struct_fields__
        state.done = {name: getattr(done, name) for name in names}
        self._write()

    def finish(self) -> None:
        """Remove the file of a load that is complete."""
        self._path.unlink(missing_ok=True)

    def _begun(self, file: Path, options: Mapping[str, Any]) -> _State:
        size = file.stat().st_size
        return _State(
            version=_VERSION,
            options=dict(options),
            size=size,
            digest=_digest(file, size),
            key=f"load-{secrets.token_hex(16)}",
        )

    def _read(self) -> _State:
        try:
            with self._path.open("rb") as file:
                state = msgspec.json.decode(file.read(_MAX_STATE_BYTES), type=_State)
        except (OSError, msgspec.MsgspecError) as error:
            self._refuse(f"cannot be read: {error}")
        if state.version != _VERSION:
            self._refuse(f"is of version {state.version}")
        return state

    def _write(self) -> None:
        with writing(self._path, overwrite=True) as file:
            file.write(msgspec.json.encode(self._state))

    def _refuse(self, reason: str) -> Any:
        raise InvalidArgument("resume", f"{self._path} {reason}; delete it to begin anew")


def _digest(file: Path, size: int) -> str:
    """Return the digest of the first and the last part of the first `size` bytes."""
    with file.open("rb") as source:
        found = hashlib.sha256(source.read(min(size, _ENDS_BYTES)))
        source.seek(max(0, size - _ENDS_BYTES))
        found.update(source.read(min(size, _ENDS_BYTES)))
    return found.hexdigest()


def state_path(file: Path, resume: bool | str | os.PathLike[str]) -> Path:
    """Return the file of the state: beside the file, unless one is named."""
    return file.with_name(file.name + SUFFIX) if resume is True else Path(os.fspath(resume))  # type: ignore[arg-type]
