"""One keyword index and its file: opened when it is used, made anew when it is damaged or in the way."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from akidb.domain.errors import StorageFull, Unavailable
from akidb.domain.keywords import Term
from akidb.observe.logs import logger
from akidb.ports.disk import Disk
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordHit
from akidb.search.keywords.database import (
    ANONYMOUS,
    COMMIT_BYTES,
    IN_MEMORY,
    IndexFault,
    KeywordDatabase,
    Outdated,
    Owner,
)
from akidb.search.keywords.files import KeywordFile

_NO_PLACE = "there is no place for a keyword index"
_log = logger("akidb.search")


class Files:
    """What the indexes of a process share."""

    def __init__(self, making: threading.Lock, disk: Disk) -> None:
        """Take the lock under which indexes are retired: none of them makes a file after that."""
        self.making = making
        self.disk = disk
        self._told: set[str] = set()

    def tell(self, error: Exception) -> None:
        """Log why files cannot be made, once."""
        said = str(error)
        if said not in self._told and len(self._told) < 100:
            self._told.add(said)
            _log.warning("keyword indexes are kept in temporary files: %s", said)


class Index:
    """`akidb.ports.keywords.CollectionKeywords`. `lock` is held around every call."""

    def __init__(self, owner: Owner, file: KeywordFile | None, files: Files) -> None:
        """Take its file; None for a temporary one."""
        self.owner = owner
        self.lock = threading.Lock()
        self.is_retired = False
        """Whether it was closed or removed: it is not used again, and makes no file."""
        self.is_used = True
        self._file = file
        self._files = files
        self._database: KeywordDatabase | None = None
        self._in_file: KeywordFile | None = None
        """The file, if the database is in it."""

    @property
    def sequence(self) -> int:
        """The sequence up to which it is built; 0 if it is not open."""
        return 0 if self._database is None else self._database.sequence

    @property
    def damaged(self) -> int:
        """The number of documents left out because they are damaged."""
        return 0 if self._database is None else self._database.damaged

    def find(
        self, documents: DocumentReader, terms: Sequence[Term], offset: int, limit: int
    ) -> list[KeywordHit]:
        """Bring the index up to the reader's sequence, and search it. A damaged one is made anew."""
        try:
            if self._database is None:
                self._open()
            elif self._in_file is not None and not self._in_file.is_unchanged():
                raise IndexFault("another program changed or removed its file")
            return self._found(documents, terms, offset, limit)
        except (Outdated, StorageFull):
            pass
        except (IndexFault, OSError, ValueError) as error:
            _log.warning(
                "the keyword index of collection %s is made anew: %s", self.owner.collection_id, error
            )
        return self._made_anew(documents, terms, offset, limit)

    def close(self, now: Callable[[], datetime] | None) -> None:
        """Close the file; note that it is whole if `now` is given."""
        database, self._database = self._database, None
        file, self._in_file = self._in_file, None
        if database is None:
            return
        database.close()
        if now is not None and file is not None:
            with suppress(OSError):
                file.seal(now())

    def _open(self) -> None:
        """Open the file that an earlier use left. Raises Outdated if there is none, OSError, ValueError."""
        if self._file is None or self.is_retired or not self._file.is_whole():
            raise Outdated
        self._database = KeywordDatabase(self._file.path, self.owner, is_new=False)
        self._in_file = self._file

    def _found(
        self, documents: DocumentReader, terms: Sequence[Term], offset: int, limit: int
    ) -> list[KeywordHit]:
        assert self._database is not None
        if self._database.sequence != documents.control.sequence:
            self._catch_up(self._database, documents)
        return self._database.find(terms, offset, limit)

    def _catch_up(self, database: KeywordDatabase, documents: DocumentReader) -> None:
        if self._in_file is None:
            database.catch_up(documents)
            return
        self._files.disk.require(COMMIT_BYTES)
        self._in_file.begin_writing()
        try:
            database.catch_up(documents)
        finally:
            with suppress(OSError):
                self._in_file.look()

    def _made_anew(
        self, documents: DocumentReader, terms: Sequence[Term], offset: int, limit: int
    ) -> list[KeywordHit]:
        """Make the index in its file, or if that fails in a temporary file, or in memory."""
        failed: Exception | None = None
        for make in (self._make_file, self._make_temporary, self._make_in_memory):
            self.close(None)
            try:
                if make():
                    return self._found(documents, terms, offset, limit)
            except (IndexFault, Outdated, OSError, StorageFull) as error:
                failed = error
                self._files.tell(error)
        self.close(None)
        raise Unavailable(f"{_NO_PLACE}: {failed}", public=_NO_PLACE) from failed

    def _make_file(self) -> bool:
        """Make an empty index in its file; return whether it may have one. Raises IndexFault, OSError."""
        file = self._file
        with self._files.making:
            if file is None or self.is_retired:
                return False
            file.make()
        self._in_file = file
        self._database = KeywordDatabase(file.path, self.owner, is_new=True)
        file.look()
        return True

    def _make_temporary(self) -> bool:
        self._database = KeywordDatabase(ANONYMOUS, self.owner, is_new=True)
        return True

    def _make_in_memory(self) -> bool:
        self._database = KeywordDatabase(IN_MEMORY, self.owner, is_new=True)
        return True
