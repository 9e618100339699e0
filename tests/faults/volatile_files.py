"""Files that need not survive a power loss, with reasons; all others must."""

from akidb.deployment.clock import CLOCK_NAME
from akidb.deployment.note import LOCK_NAME
from akidb.deployment.restore import MARKER_NAME
from akidb.sql.archive_image import SCRATCH_NAME

VOLATILE = {
    "*-shm": "SQLite makes the index of a log anew from the log",
    f"*/{LOCK_NAME}": "the lock is held by a process, and ends with it",
    f"*/{CLOCK_NAME}": "without the record, or with an older one, what expires waits longer",
    f"*/{SCRATCH_NAME}": "what is in the making is garbage after a crash",
    f"*/{SCRATCH_NAME}/*": "what is in the making is garbage after a crash",
    "*/.*.part": "a file that a caller named, before it has its name",
    "*/.tmp-*": "a file of a model that is not whole yet",
    "*/.lock": "processes that install a model wait for each other there",
    "*/models": "a model that is lost is fetched again",
    "*/models/tiny": "a model that is lost is fetched again",
}

BY_SQLITE = {"*.db-wal": "SQLite syncs the directory in which it makes a log"}
"""What cannot be seen in this process."""

DECIDING = frozenset({MARKER_NAME})
"""Names whose removal says that what was done is whole."""
