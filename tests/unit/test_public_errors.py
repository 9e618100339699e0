"""Every place that raises an error with something of the machine in its message says what is public of it."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.api.errors import body_of
from akidb.domain.errors import Internal, StorageFull, Unavailable
from akidb.ports.conflicts import TransactionConflict

SOURCE = Path(__file__).parents[2] / "src/akidb"
HERE = ("cli", "bench", "client", "aio", "deployment", "legacy")
"""Packages whose errors reach only callers on this machine: a server is not running yet, or not theirs."""
ALSO_HERE = {"api/sockets.py", "services/migration.py"}
KINDS = {"Unavailable", "Internal", "StorageFull", "TransactionConflict", "Overloaded", "kind"}
PUBLIC = {
    # Names of files within a data directory, which consist of a tenant's ID, and of the stores.
    *("path.name", "self.path.name", "self.name", "self._name", "store", "name", "self._database.name"),
    *("what", "problem", "self._second_name()", "parameters.name"),
    *("self.altered", "self._altered[tenant_id]"),
    # Of the request, the model, the archive or the program.
    *(
        "tenant_id",
        "tenant.tenant_id",
        "state",
        "found",
        "known",
        "encoding",
        "broken[0]",
        "reason",
        "role",
        "self.schema",
        "TRANSACTION_POOLING",
        "library.sqlite_version",
        "type(error).__name__",
    ),
    "collection.collection_id",
    *("collection.embedding_model", "collection.embedding_fingerprint", "embedder.fingerprint"),
    *("found[0]",),  # a column of a damaged row, and the ID of its collection
    *("model.name", "count", "size", "len(content)"),
    *("MAX_TENANT_ROWS", "MAX_TENANT_ROWS_BYTES", "self.reserve_bytes"),
}
"""Expressions in messages that tell nothing of the machine."""


def unreviewed() -> Iterator[str]:
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        if place.parts[0] in HERE or place.as_posix() in ALSO_HERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", None) not in KINDS or not node.args:
                continue
            if any(keyword.arg == "public" for keyword in node.keywords):
                continue
            for part in ast.walk(node.args[0]):
                if isinstance(part, ast.FormattedValue) and ast.unparse(part.value) not in PUBLIC:
                    yield f"{place}:{node.lineno}: {ast.unparse(part.value)}"


def test_errors_with_something_of_the_machine_say_what_is_public() -> None:
    assert list(unreviewed()) == []


@pytest.mark.parametrize("kind", [Unavailable, Internal, StorageFull, TransactionConflict])
def test_body_has_the_message_only_on_the_socket(kind: type[Unavailable] | type[Internal]) -> None:
    error = kind("/srv/akidb/models is gone", public="the model is gone")
    for path in ("/v1/tenants", "/v1/embeddings"):
        assert b"/srv" not in body_of(error, "r", path)[1]
        assert b"the model is gone" in body_of(error, "r", path)[1]
        assert b"/srv/akidb/models" in body_of(error, "r", path, is_local=True)[1]
    assert kind("is gone").public == "is gone"
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.public) == (error.message, error.public)
