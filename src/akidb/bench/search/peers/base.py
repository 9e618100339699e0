"""What is asked of every engine.

An engine keeps text and metadata beside the vectors and returns them, or is an index only (`stores` is
False): then it is given filters as the rows that they keep. Document numbers are the identifiers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from akidb.bench.search.data import Condition, Documents, Floats

TOP_K = 10
M = 16
EF_CONSTRUCTION = 128

Search = Callable[[Floats], Any]
"""Takes one question and returns the engine's own answer, with text and metadata as Python objects."""


class Setting(NamedTuple):
    """A choice between speed and recall at the time of a search."""

    name: str
    value: int


class Engine(Protocol):
    """One engine with one collection."""

    name: str
    package: str
    """The distribution whose version is shown; installed by `pip install 'akidb[peers]'`."""
    stores: bool
    note: str
    """How it is configured, and what a write that returned has reached."""
    bulk: int
    """Documents of a batch in a bulk load, as its documentation recommends."""
    settings: tuple[Setting, ...]
    """From fast to accurate."""

    def create(self, folder: Path, dimension: int) -> None:
        """Create the collection in an empty folder."""

    def open(self, folder: Path, dimension: int) -> None:
        """Open the collection that another process created."""

    def add(self, documents: Documents) -> None:
        """Write documents; they are as durable as `note` says when it returns."""

    def ready(self) -> None:
        """Wait until searches run at full speed, and everything is in files."""

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        """Return a function that searches for the ten nearest documents."""

    def numbers(self, answer: Any) -> list[int]:
        """Return the document numbers of an answer."""

    def delete(self, condition: Condition) -> None:
        """Delete the documents that fulfil the condition."""

    def close(self) -> None:
        """Release the files."""


class Many(Protocol):
    """One engine with many small collections."""

    def open(self, folder: Path, dimension: int) -> None:
        """Create or open the store in a folder."""

    def create(self, number: int, documents: Documents) -> None:
        """Create a collection with these documents."""

    def search(self, number: int, question: Floats) -> Any:
        """Search a collection, opening it if needed."""

    def close(self) -> None:
        """Release the files."""


def efs(*values: int) -> tuple[Setting, ...]:
    """Return settings that are widths of the candidate list of a graph search."""
    return tuple(Setting(f"ef {value}", value) for value in values)
