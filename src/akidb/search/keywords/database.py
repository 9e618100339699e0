"""One keyword index: an FTS5 table, and the documents' ids and sequences beside it.

FTS5 stores the texts as well. Without them it can delete a document too (`contentless_delete`), but keeps
counting it, so that scores would depend on the order of earlier writes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from akidb.domain.documents import Include
from akidb.domain.errors import Unavailable
from akidb.domain.ids import CollectionId, StoreId
from akidb.domain.keywords import Term
from akidb.observe.right_of_way import giving_way
from akidb.ports.documents import DocumentReader, Row
from akidb.ports.keywords import KeywordHit
from akidb.sql.sqlite_library import library, uri

FORMAT = 1
"""Changes with the tables, the tokenizer and its options."""
TOKENIZER = "unicode61 remove_diacritics 2"
SECURE_DELETE_VERSION = (3, 42, 0)
"""The first version whose FTS5 can erase the words of deleted texts at once."""
REMOVALS, REMOVED_SHARE = 1_000, 0.05
"""Removing more texts than both takes longer than to build the index anew."""
COMMIT_BYTES = 16 * 2**20
"""Text between two commits, so that an interrupted build goes on where it was."""
FETCHED_KEYS = 100
CACHE_KIB = 2_048

ANONYMOUS = ""
"""A temporary file without a name, removed with its connection."""
IN_MEMORY = ":memory:"
MAX_MEMORY_BYTES = 256 * 2**20
PAGE_BYTES = 4_096

_SCHEMA = (
    "CREATE TABLE about(format INTEGER, store_id TEXT, collection_id TEXT, sequence INTEGER)",
    "CREATE TABLE documents(document_key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, id TEXT UNIQUE)",
    "CREATE TABLE damaged(document_key INTEGER PRIMARY KEY)",
    f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{TOKENIZER}')",
)
_FIND = """
SELECT document_key, sequence, id, -bm25(words) AS score
FROM words JOIN documents ON document_key = words.rowid
WHERE words MATCH ? ORDER BY score DESC, id LIMIT ? OFFSET ?
"""
_KNOWN = """
SELECT document_key, text FROM documents JOIN words ON words.rowid = document_key
WHERE id = ? OR document_key = ?
"""


class Outdated(Exception):
    """The index must be built anew: it belongs to something else, or deletions are unknown."""


class IndexFault(Exception):
    """SQLite failed: the file is damaged, or there is no room for it."""


class Owner(NamedTuple):
    """What an index is of."""

    store_id: StoreId
    collection_id: CollectionId


def expression(terms: Iterable[Term]) -> str:
    """Return the terms as an FTS5 expression that matches documents with any of them."""
    return " OR ".join(f'"{" ".join(term.words)}"{"*" * term.is_prefix}' for term in terms)


def require_fts5() -> None:
    """Raise Unavailable if this process's SQLite cannot index texts."""
    with closing(library.connect(IN_MEMORY)) as connection:
        options = {name for (name,) in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" not in options:
        raise Unavailable(f"SQLite {library.sqlite_version} has no FTS5, which keyword search needs")


class KeywordDatabase:
    """One index over one connection. Not thread-safe. Its methods raise IndexFault."""

    def __init__(self, place: Path | str, owner: Owner, *, is_new: bool) -> None:
        """Open an existing file, empty if `is_new`; or ANONYMOUS or IN_MEMORY.

        Raises Outdated if it is of something else.
        """
        self.sequence = 0
        self._removals_left = 0
        try:
            self._connection: Any = library.connect(
                place if isinstance(place, str) else uri(place, "mode=rw"),
                uri=isinstance(place, Path),
                isolation_level=None,
                check_same_thread=False,
            )
        except library.Error as error:
            raise IndexFault(str(error)) from error
        try:
            self._prepare()
            if place == IN_MEMORY:
                self._run(f"PRAGMA max_page_count={MAX_MEMORY_BYTES // PAGE_BYTES}")
            if is_new:
                self._create(owner)
            else:
                self._recognise(owner)
            self.damaged = self._count("damaged")
        except BaseException:
            self.close()
            raise

    def catch_up(self, documents: DocumentReader) -> None:
        """Apply all changes up to the reader's sequence.

        Raises Outdated if it must be built anew for that.
        """
        control = documents.control
        if self.sequence == control.sequence:
            return
        if self.sequence > control.sequence or 0 < self.sequence < control.tombstone_floor:
            raise Outdated
        self._removals_left = max(REMOVALS, int(control.document_count * REMOVED_SHARE))
        changes = documents.changes(self.sequence, contents=True)
        with closing(changes.rows) as rows:
            if changes.deletions_damaged and self.sequence:
                raise Outdated
            self._apply(changes.deleted if self.sequence else (), rows)
        with self._transaction():
            self._note_damaged(documents, changes.damaged)
            self._advance(control.sequence)
        self.damaged = self._count("damaged")
        self.sequence = control.sequence

    def find(self, terms: Sequence[Term], offset: int, limit: int) -> list[KeywordHit]:
        """Return documents that contain a term, by descending score, then by id."""
        return [KeywordHit(*row) for row in self._run(_FIND, expression(terms), limit, offset)]

    def close(self) -> None:
        """Close the connection."""
        with suppress(library.Error):
            self._connection.close()

    def _prepare(self) -> None:
        for pragma in (
            f"page_size={PAGE_BYTES}",
            f"cache_size=-{CACHE_KIB}",
            "journal_mode=MEMORY",  # rolls back; a kill is noticed by the missing checksum of the file
            "synchronous=OFF",
            "mmap_size=0",  # a mapped file that becomes shorter kills the process
            "secure_delete=ON",
            "cell_size_check=ON",
        ):
            self._run(f"PRAGMA {pragma}")

    def _create(self, owner: Owner) -> None:
        with self._transaction():
            for statement in _SCHEMA:
                self._run(statement)
            if library.sqlite_version_info >= SECURE_DELETE_VERSION:
                self._run("INSERT INTO words(words, rank) VALUES ('secure-delete', 1)")
            named = (FORMAT, str(owner.store_id), str(owner.collection_id))
            self._run("INSERT INTO about VALUES (?, ?, ?, 0)", *named)

    def _recognise(self, owner: Owner) -> None:
        found = self._run("SELECT * FROM about")
        named = (FORMAT, str(owner.store_id), str(owner.collection_id))
        if len(found) != 1 or found[0][:3] != named or type(found[0][3]) is not int:
            raise Outdated
        self.sequence = found[0][3]

    def _apply(self, deleted: Iterable[tuple[int, str]], rows: Iterable[Row]) -> None:
        """Apply deletions, and rows in the order of their sequences, with a commit now and then."""
        was_empty = not self.sequence
        written = iter(giving_way(rows))
        is_done = False
        while not is_done:
            last, size = None, 0
            with self._transaction():
                self._delete(deleted)
                deleted = ()
                for row in written:
                    self._put(row, was_empty=was_empty)
                    last = row.sequence
                    size += len(row.text or "")
                    if size > COMMIT_BYTES:
                        break
                else:
                    is_done = True
                if last is not None:
                    self._advance(last)
            if last is not None:
                self.sequence = last

    def _delete(self, deleted: Iterable[tuple[int, str]]) -> None:
        for _sequence, id in deleted:
            for (key,) in self._run("SELECT document_key FROM documents WHERE id = ?", id):
                self._remove(key)

    def _remove(self, document_key: int) -> None:
        self._removals_left -= 1
        if self._removals_left < 0:
            raise Outdated
        self._run("DELETE FROM words WHERE rowid = ?", document_key)
        self._run("DELETE FROM documents WHERE document_key = ?", document_key)

    def _put(self, row: Row, *, was_empty: bool) -> None:
        if not was_empty and self._has(row):
            return
        if row.text is None:
            return
        key = row.document_key
        self._run("INSERT INTO documents VALUES (?, ?, ?)", key, row.sequence, row.id)
        self._run("INSERT INTO words(rowid, text) VALUES (?, ?)", key, row.text)

    def _has(self, row: Row) -> bool:
        """Return whether the row's text is indexed already, and remove an earlier one."""
        known = self._run(_KNOWN, row.id, row.document_key)
        if known == [(row.document_key, row.text)]:
            changed = (row.sequence, row.id, row.document_key)
            self._run("UPDATE documents SET sequence = ?, id = ? WHERE document_key = ?", *changed)
            return True
        for key, _text in known:
            self._remove(key)
        return False

    def _note_damaged(self, documents: DocumentReader, found: Iterable[int]) -> None:
        """Remove what the index has of damaged documents, and remember those that still exist."""
        known = {key for (key,) in self._run("SELECT document_key FROM damaged")}
        keys = sorted(known.union(found))
        for at in range(0, len(keys), FETCHED_KEYS):
            some = keys[at : at + FETCHED_KEYS]
            rows = documents.fetch(some, (Include.VECTOR,))
            for key in some:
                if key in rows and rows[key][1] is None:
                    self._remove(key)
                    self._run("INSERT OR IGNORE INTO damaged VALUES (?)", key)
                else:  # written again, or deleted
                    self._run("DELETE FROM damaged WHERE document_key = ?", key)

    def _advance(self, sequence: int) -> None:
        self._run("UPDATE about SET sequence = ?", sequence)

    def _count(self, table: str) -> int:
        return int(self._run(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement. Its errors are told from those of the store whose rows are read meanwhile."""
        try:
            return self._connection.execute(statement, values).fetchall()  # type: ignore[no-any-return]
        except library.Error as error:
            raise IndexFault(str(error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(IndexFault):
                self._run("ROLLBACK")
            raise
