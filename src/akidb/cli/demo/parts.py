"""The demo's tenants, their texts and their queries."""

from typing import NamedTuple

from akidb.cli.demo import corpus
from akidb.domain.fields import CollectionPath

DATABASE, COLLECTION = "python", "docs"


class Part(NamedTuple):
    """One tenant of the demo."""

    name: str
    slug: str
    about: str
    modules: tuple[str, ...]
    questions: tuple[str, ...]

    @property
    def path(self) -> CollectionPath:
        """The collection of its texts."""
        return CollectionPath(self.slug, DATABASE, COLLECTION)

    @property
    def external_id(self) -> str:
        """Distinguishes the demo's tenant from a user's tenant of the same name."""
        return f"akidb-demo/{self.slug}"


AKI = Part(
    "Aki Labs",
    "aki-labs",
    "networking, files and data",
    corpus.NETWORKING_FILES_DATA,
    (
        "how do I compress a file?",
        "make a temporary directory that is removed afterwards",
        "a safe random token for a password reset",
    ),
)
BUNKA = Part(
    "Bunka Books",
    "bunka-books",
    "text, maths, concurrency and the language",
    corpus.TEXT_MATHS_CONCURRENCY_LANGUAGE,
    (
        "parse command line arguments",
        "measure elapsed time precisely",
        "find the difference between two texts",
    ),
)
PARTS = (AKI, BUNKA)

FOREIGN_QUESTION = "median of a list of numbers"
"""Bunka Books has a matching text; Aki Labs has none."""
