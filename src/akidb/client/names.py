"""What may name an embedding model, in process and over HTTP alike."""

from akidb.domain.errors import InvalidArgument


def check_model(value: object, field: str) -> str:
    """Any text: which models there are, the services know. Raises InvalidArgument for anything else."""
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be the name of a model")
    return value
