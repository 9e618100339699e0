"""A process that holds a data directory until it is ended."""

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from fault_tools import add_tenant, at, document, opened


def run(directory: Path, pipe: Connection) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "held", "c")
        operations.documents.upsert(at("held"), [document("x")])
        pipe.send("ready")
        threading.Event().wait()
