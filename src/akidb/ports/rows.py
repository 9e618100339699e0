"""What ports say of rows whose values cannot be read."""

from collections.abc import Callable

from akidb.domain.errors import Damaged

Damages = Callable[[Damaged], object] | None
"""Is called with the errors of rows that are left out because they are damaged."""
