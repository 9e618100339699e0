"""The table of limits has every limit of the code, and its numbers are those that a store enforces."""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import akidb
import akidb.domain
from akidb.api.limits import Limits
from akidb.settings import Settings

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "domain.archives.MAX_NAMED": "problems that an error names",
    "domain.errors.MAX_NAMED": "likewise",
    "domain.errors.MAX_SHOWN": "characters of a value that an error shows",
    "domain.field_values.MAX_CHARACTERS": "how much of a string documents are ordered by",
    "domain.json.MAX_INTEGER": "the largest number of 64 bits",
    "domain.json.MIN_INTEGER": "the smallest",
    "domain.json_batch.MAX_WORD_BYTES": "how much of a body is looked at to recognize a batch",
    "domain.json_weight.MAX_CONTAINERS": "in docs/http.md: weight of a batch",
    "domain.json_weight.MAX_STRINGS": "likewise",
    "domain.json_weight.MAX_COMMAS": "likewise",
    "domain.json_weight.MAX_BLANK_BYTES": "in docs/http.md: blanks between values",
    "domain.manifests.reading.MAX_NAME_LENGTH": "of AkiDB 1.x",
    "domain.manifests.reading.MAX_SHOWN_SLUG": "characters of a slug that a report shows",
    "domain.names.MAX_VERSION": "room for increments of a counter",
    "domain.names.MAX_SEQUENCE": "likewise",
    "domain.names.MAX_FOLDED_LENGTH": "how much of a name is sorted by",
    "domain.search_fields.DEFAULT_RECALL": "in docs/search.md: a default",
    "domain.plain.MAX_ARRAY_BYTES": "beyond what any list of values may have",
    **{
        f"api.limits.Limits.{name}": "in docs/http.md: what is done to slow clients when a server is full"
        for name in ("crowded_rate", "crowded_seconds", "crowded_stream_seconds", "streams_each")
    },
    **{
        f"api.limits.Limits.{name}": "how a refused or small request is handled"
        for name in ("linger_seconds", "head_linger_bytes", "free_bytes", "whole_body_bytes")
    },
    "settings.Settings.slow_operation_seconds": "limits nothing: it is for the log",
}
"""Numbers that are not in the table, and why."""

SAID = {
    "README.md": (
        "{domain.entities.DEFAULT_QPS_QUOTA} operations a second",
        "{domain.entities.DEFAULT_STORAGE_QUOTA_BYTES:bytes} of documents",
        "{domain.entities.DEFAULT_MEMORY_QUOTA_BYTES:bytes} of memory",
        "`wait_seconds` ({settings.Settings.wait_seconds:float})",
        "{domain.documents.MAX_ID_BYTES} bytes of id, {domain.documents.MAX_TEXT_BYTES:bytes} of text",
        "{domain.json.MAX_OBJECT_BYTES:bytes} of metadata",
        "a batch has at most {domain.documents.MAX_BATCH_DOCUMENTS} documents",
        "{domain.entities.MIN_DIMENSION} to {domain.entities.MAX_DIMENSION} dimensions",
    ),
    "docs/python.md": (
        "{domain.entities.DEFAULT_QPS_QUOTA} document and search operations a second",
        "`timeout_seconds` ({client.connect.DEFAULT_TIMEOUT_SECONDS:float})",
        "`threads` ({aio.DEFAULT_THREADS})",
        "the first {services.denials.ENTRIES_PER_WINDOW} failures of a tenant in a minute",
        "up to {domain.parts.MAX_FIELDS}, without commas",
        "more than {documents.deletions.TOMBSTONES_KEPT} changes behind",
    ),
    "docs/http.md": (
        "{domain.entities.DEFAULT_QPS_QUOTA} document and search operations a second",
        "`max_queued_requests` ({settings.Settings.max_queued_requests})",
        "`max_answer_bytes` ({settings.Settings.max_answer_bytes:bytes})",
        "`filter_timeout_seconds` ({settings.Settings.filter_timeout_seconds:float})",
        "{api.limits.Limits.head_bytes:bytes}, {api.limits.Limits.headers} fields",
        "| JSON body | {api.limits.Limits.body_bytes:bytes} | {api.limits.Limits.body_seconds:seconds},",
        "{domain.json_weight.MAX_VALUES}; in a batch {domain.json_weight.MAX_CONTAINERS} lists and objects",
        "{domain.json_weight.MAX_STRINGS} strings, {domain.json_weight.MAX_COMMAS} commas",
        "{domain.json_weight.MAX_DOCUMENT_VALUES} values and {domain.json_batch.MAX_DOCUMENT_BYTES:bytes}",
        "{domain.json_weight.MAX_PIECE_BYTES:bytes}; {domain.json_weight.MAX_BLANK_BYTES:bytes} of blanks",
        "{api.limits.Limits.all_bodies_bytes:bytes} | wait for {api.limits.Limits.wait_seconds:seconds}",
        "{api.limits.Limits.streams}; {api.limits.Limits.uploads} imports",
        "{api.limits.Limits.streams_each} exports of a tenant",
        "| {api.limits.Limits.connections}, or what `ulimit -n` leaves",
    ),
    "docs/filters.md": (
        "at most {domain.filters.parsing.MAX_DEPTH} levels deep",
        "at most {domain.filters.parsing.MAX_CONDITIONS} conditions",
        "at most {domain.filters.parsing.MAX_OPERANDS} values",
        "at most {domain.filters.patterns.MAX_PATTERNS} regular expressions",
        "at most {domain.filters.patterns.MAX_PATTERN_BYTES} bytes each",
        "at most {domain.filters.patterns.MAX_PROGRAM_SIZE} instructions",
    ),
    "docs/backup.md": (
        "at most {archive.parts.MAX_TENANT_ROWS} rows",
        "of {archive.parts.MAX_TENANT_ROWS_BYTES:bytes} as JSON",
    ),
    "docs/postgresql.md": (
        "`lock_timeout` {sql.postgresql_session.LOCK_TIMEOUT_SECONDS:seconds}",
        "`postgresql_pool_size` ({settings.Settings.postgresql_pool_size})",
    ),
}
"""What other pages say on limits."""


@pytest.fixture(scope="module")
def table() -> Iterator[ModuleType]:
    """The module of `tools` that writes the table."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("limits_table")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def limits_of_code() -> Iterator[str]:
    """Yield the paths of all limits of input, of a server and of the settings."""
    for found in pkgutil.walk_packages(akidb.domain.__path__, "akidb.domain."):
        module = importlib.import_module(found.name)
        for name in names_assigned(Path(str(module.__file__))):
            if re.match("(MAX|MIN|DEFAULT)_", name) and isinstance(getattr(module, name), int | float):
                yield f"{found.name.removeprefix('akidb.')}.{name}"
    for struct in (Limits, Settings):
        for name in struct.__struct_fields__:
            if isinstance(getattr(struct(), name), int | float):
                yield f"{struct.__module__.removeprefix('akidb.')}.{struct.__name__}.{name}"


def names_assigned(path: Path) -> Iterator[str]:
    """Yield the names that a module assigns, not those that it imports."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Name):
                    yield node.id


def test_every_limit_is_in_the_table_or_has_a_reason_not_to_be(table: ModuleType) -> None:
    missing = set(limits_of_code()) - table.named()
    assert missing == set(ELSEWHERE), (
        "a limit is missing in tools/limits_table.py, or a reason in ELSEWHERE is stale"
    )


def test_values_are_written_in_units_that_people_read(table: ModuleType) -> None:
    written = [table.written(value, "bytes") for value in (512, 2**20, 2**40, 1536, 60 * 1024)]
    assert written == ["512 bytes", "1 MiB", "1 TiB", "1,536 bytes", "60 KiB"]
    assert [table.written(value, "seconds") for value in (0.5, 60, 7200, 604_800)] == [
        "0.5 s",
        "60 s",
        "2 hours",
        "7 days",
    ]


def test_store_enforces_the_numbers_of_the_page() -> None:
    """The notes below the table are true, and so are defaults and rows that no constant names."""
    with akidb.connect(":memory:", wait_seconds=0) as db:
        tenant = db.tenants.create("n" * 255, external_id="e" * 255)
        assert (tenant.qps_quota, tenant.storage_quota_bytes, tenant.memory_quota_bytes) == (
            200,
            2**40,
            2**35,
        )
        with pytest.raises(akidb.InvalidArgument, match="name"):
            db.tenants.create("n" * 256)
        database = tenant.databases.create("d" * 128)
        with pytest.raises(akidb.InvalidArgument, match="name"):
            tenant.databases.create("d" * 129)
        points = database.collections.create("points", dimension=64)
        assert points.max_document_count == 50_000_000
        vector = [1.0] * 64
        points.upsert([{"id": "abc", "vector": vector, "text": "é", "metadata": {"k": 1}}])
        assert tenant.usage().storage_bytes.used == 3 + 2 + len('{"k":1}') + 4 * 64
        tenant.update(storage_quota_bytes=10)
        points.upsert([{"id": "abc", "vector": vector, "text": "e", "metadata": {"k": 2}}])
        with pytest.raises(akidb.QuotaExceeded):
            points.upsert([{"id": "abcd", "vector": vector}])
        assert points.delete(["abc"]) == 1
        tenant.update(qps_quota=1, storage_quota_bytes=None)
        points.upsert([{"vector": vector} for _ in range(100)])
        with pytest.raises(akidb.RateLimited):
            points.changes()
        assert tenant.usage().documents == 100
        assert tenant.databases.count() == 1


@pytest.mark.parametrize("page", SAID)
def test_other_pages_name_the_same_limits(table: ModuleType, page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    for sentence in map(table.filled, SAID[page]):
        assert sentence in text, sentence
