"""The directory in which a process keeps search indexes derived from PostgreSQL, locked meanwhile."""

import fcntl
import os
from pathlib import Path

from akidb.deployment.private import close_to_others, require_private
from akidb.domain.errors import Unavailable
from akidb.observe.logs import logger
from akidb.sql.files import make_directory

_log = logger("akidb.deployment")


class IndexDirectory:
    """A locked directory. `path` is None if none is set, or if another process has it."""

    def __init__(self, path: Path | None) -> None:
        """Create and lock the directory. Raises Unavailable if it cannot be used, or others may change it."""
        self.path = path
        self._descriptor = -1
        if path is None:
            return
        try:
            make_directory(path)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            require_private(path, ())
            close_to_others(path)
        except BlockingIOError:
            _log.warning("index_directory %s is used by another process: indexes are temporary here", path)
            self.path = None
            self.release()
        except OSError as error:
            self.release()
            raise Unavailable(f"index_directory {path}: {error.strerror}") from error
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let other processes use it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
