"""Regular expressions of `$regex`, compiled by RE2, which takes time in proportion to the text.

A text is matched in one call, which no deadline interrupts: the size of the program bounds its time.
"""

from functools import cache
from typing import Any, Final, Never, Protocol

from akidb.domain.errors import InvalidArgument
from akidb.domain.extras import missing_module

MAX_PATTERNS: Final = 16
"""Maximum number of regular expressions in a filter."""
MAX_PATTERN_BYTES: Final = 1000
MAX_PROGRAM_SIZE: Final = 2000
"""Maximum instructions of all regular expressions of a filter. RE2 visits each at most once for a byte, so
that the worst take about 15 s for a text of 1 MiB; other threads run meanwhile."""
_MEMORY_BYTES: Final = 256 * 1024
"""For a compiled pattern and what it remembers of texts; `re2` keeps the last 128 patterns."""


class Pattern(Protocol):
    """A compiled regular expression."""

    @property
    def programsize(self) -> int:
        """The number of its instructions."""

    def search(self, text: str) -> object:
        """Return its first match in a text, or None."""


def compiled(pattern: str) -> Pattern:
    """Compile a pattern. Raises ValueError with the reason."""
    try:
        import re2
    except ModuleNotFoundError:
        return _Uncompiled()
    try:
        found: Pattern = re2.compile(pattern, _options())
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason) from None
    return found


def program_size(pattern: str, path: str) -> int:
    """Return the number of instructions of a pattern. Raises InvalidArgument if it cannot be compiled."""
    try:
        return compiled(pattern).programsize
    except ValueError as error:
        raise InvalidArgument(path, f"must be a regular expression in the syntax of RE2: {error}") from None


class _Uncompiled:
    """Stands for a pattern in an HTTP client without RE2, whose server checks it."""

    programsize = 0

    def search(self, _text: str) -> Never:
        raise missing_module("re2")


@cache
def _options() -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.never_capture = True
    return options
