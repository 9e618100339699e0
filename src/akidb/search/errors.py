"""What may prevent an index from being used."""


class TooLarge(Exception):
    """A collection does not fit into memory."""

    def __init__(self, memory_bytes: int) -> None:
        """Take the size of a part of it."""
        super().__init__()
        self.memory_bytes = memory_bytes
