"""The settings that all connections of a process to one deployment share."""

from akidb.domain.errors import InvalidArgument
from akidb.settings import Settings

SHARED_SETTINGS = (
    *("models_dir", "model_source", "default_model", "synchronous", "max_open_stores"),
    *("postgresql_pool_size", "slow_operation_seconds", "tracing", "retention_seconds"),
    *("disk_reserve_bytes", "wait_seconds"),
    *("max_answer_bytes", "filter_timeout_seconds", "index_directory"),
)


def refuse_other_settings(held: Settings, wanted: Settings) -> None:
    """Require a new connection to use the settings of the open ones. Raises InvalidArgument."""
    for name in SHARED_SETTINGS:
        if getattr(held, name) != getattr(wanted, name):
            raise InvalidArgument(
                name, f"is {getattr(held, name)!r} in a connection that this process already has open"
            )
