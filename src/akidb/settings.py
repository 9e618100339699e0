"""Every setting of AkiDB, read in this one place: environment variables and a `[akidb]` TOML file.

Precedence: what a caller passes, then the environment, then the file, then the default.
"""

import os
import tomllib
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from akidb.domain.errors import InvalidArgument

MAX_RETENTION_SECONDS = 100 * 365 * 24 * 3600


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings. Each field is `AKIDB_<FIELD>` in the environment and `<field>` in the file."""

    url: str = "akidb-data"
    """What to connect to: a directory, `sqlite:///PATH` or `http://HOST:PORT`."""
    models_dir: str | None = None
    """Where embedding models are kept; by default `models` in the user's cache directory."""
    model_source: str | None = None
    """A directory or wheel to take models from instead of the package index, for machines without one."""
    default_model: str = "all-minilm-l6-v2"
    """The model that is used where none is named."""
    synchronous: str = "full"
    """`full`: every commit reaches the disk; `normal`: a power loss may take the last commits."""
    max_open_stores: int = 128
    """Tenant stores kept open at once."""
    postgresql_pool_size: int = 8
    """Connections to PostgreSQL for each kind of store, and as many for locks between processes."""
    max_queued_requests: int = 1024
    """Requests that a server works on or keeps waiting; one more is refused as overloaded."""
    retention_seconds: int = 7 * 24 * 3600
    """How long what is deleted can be restored, and a copy taken before a schema migration is kept."""
    log_level: str = "info"
    """What the server logs: `debug`, `info`, `warning` or `error`."""
    log_format: str = "text"
    """How the server logs: `text`, or `json` with one object a line."""
    slow_operation_seconds: float = 1.0
    """What takes as long is logged as a warning; 0: nothing is."""
    tracing: str = "off"
    """`on`: operations and repository calls are spans of OpenTelemetry."""

    @property
    def models_path(self) -> Path:
        """Where embedding models are kept."""
        if self.models_dir is not None:
            return Path(self.models_dir)
        from platformdirs import user_cache_path

        return user_cache_path("akidb") / "models"


def load(**given: Any) -> Settings:
    """Read the settings; arguments that are not None win.

    The file is the one that `AKIDB_CONFIG` names, else `akidb.toml` in the current directory if there
    is one. Raises InvalidArgument naming the setting.
    """
    values: dict[str, Any] = {}
    named = os.environ.get("AKIDB_CONFIG")
    path = Path(named or "akidb.toml")
    if named or path.is_file():
        values.update(_read_file(path))
    for name in Settings.__struct_fields__:
        text = os.environ.get(f"AKIDB_{name.upper()}")
        if text is not None:
            values[name] = text
    values.update({name: value for name, value in given.items() if value is not None})
    settings = _convert(values)
    _check(settings)
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument("AKIDB_CONFIG", f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument("AKIDB_CONFIG", f"{path} is not TOML: {error}") from None
    section = table.get("akidb", {})
    if not isinstance(section, dict):
        raise InvalidArgument("AKIDB_CONFIG", f"{path}: [akidb] must be a table")
    return section


def _convert(values: dict[str, Any]) -> Settings:
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    converted = {}
    for name, value in values.items():
        if name not in types:
            raise InvalidArgument(name, "is no setting")
        try:
            # Not strict, since the environment holds text alone.
            converted[name] = msgspec.convert(value, types[name], strict=False)
        except msgspec.ValidationError:
            kind = {int: "a whole number", float: "a number"}.get(types[name], "text")
            raise InvalidArgument(name, f"must be {kind}, not {value!r}") from None
    return Settings(**converted)


def _check(settings: Settings) -> None:
    if settings.synchronous not in {"full", "normal"}:
        raise InvalidArgument("synchronous", "must be full or normal")
    if settings.log_level not in {"debug", "info", "warning", "error"}:
        raise InvalidArgument("log_level", "must be debug, info, warning or error")
    if settings.log_format not in {"text", "json"}:
        raise InvalidArgument("log_format", "must be text or json")
    if settings.tracing not in {"on", "off"}:
        raise InvalidArgument("tracing", "must be on or off")
    if not 0 <= settings.slow_operation_seconds < inf:
        raise InvalidArgument("slow_operation_seconds", "must be 0 or a finite positive number")
    if not 0 <= settings.retention_seconds <= MAX_RETENTION_SECONDS:
        raise InvalidArgument("retention_seconds", f"must be 0-{MAX_RETENTION_SECONDS}")
    for name, minimum in (("max_open_stores", 1), ("postgresql_pool_size", 2), ("max_queued_requests", 1)):
        if getattr(settings, name) < minimum:
            raise InvalidArgument(name, f"must be at least {minimum}")
