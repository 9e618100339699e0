"""A process that keeps a data directory open until it is terminated."""

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from fault_tools import add_tenant, at, document, opened

from akidb.operations.documents import UpsertDocuments


def run(directory: Path, pipe: Connection) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "held", "c")
        operations.perform(UpsertDocuments(**at("held")._asdict(), documents=[document("x")]))
        pipe.send("ready")
        threading.Event().wait()
