"""The port to the disk of a deployment: its free space, and the reserve for operations that release space."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Disk(Protocol):
    """The free space of a disk."""

    def require(self, growth_bytes: int = 0) -> None:
        """Raise StorageFull if the reserve would not be left free after growing by so many bytes."""

    def releasing(self) -> AbstractContextManager[None]:
        """Let the block, which releases space, use the reserve."""

    def uploading(self) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function to call before writing the next so many bytes of an uploaded file.

        It raises StorageFull if the uploads in progress would take more than half of the free space above the
        reserve. The file must be removed when the block ends.
        """

    def spare_bytes(self) -> int:
        """Return the free bytes above the reserve."""
