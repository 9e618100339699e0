"""Indexes the demo's texts, unless they are indexed; resumes an interrupted run."""

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from akidb.cli.demo import corpus
from akidb.cli.demo.parts import COLLECTION, DATABASE, Part
from akidb.cli.importing import BATCH_TEXTS, write
from akidb.cli.output import Output
from akidb.domain.documents import MAX_PAGE_LIMIT
from akidb.domain.entities import Tenant
from akidb.domain.errors import AlreadyExists, InvalidArgument, NotFound
from akidb.domain.fields import CollectionPath
from akidb.operations.collections import CreateCollection, GetCollection
from akidb.operations.databases import CreateDatabase, GetDatabase
from akidb.operations.declare import Operations
from akidb.operations.documents import CountDocuments, ScanDocuments
from akidb.operations.tenants import CreateTenant, ListTenants, UpdateTenant


class Indexed(NamedTuple):
    """The result of indexing."""

    texts: int
    """Indexed now, in total."""
    written: int
    """Indexed by this run."""
    seconds: float


def ensure(operations: Operations, out: Output, parts: Iterable[Part], model: str) -> Indexed:
    """Create the tenants and index the texts that are missing."""
    began, texts, work = time.perf_counter(), 0, []
    for part in parts:
        tenant = _tenant(operations, part)
        _collection(operations, part, model)
        count = operations.perform(CountDocuments(**part.path._asdict()))
        if count and tenant.metadata == _mark(count):
            texts += count
            continue
        found = corpus.read(part.modules)
        there = set(_ids(operations, part.path))
        work.append((part, found, [text for text in found if text.name not in there]))
        texts += len(found)
    written = sum(len(missing) for _, _, missing in work)
    if written:
        out.note(f"indexing {written:,} texts of Python's documentation with {model}")
    began = time.perf_counter()
    with out.progress("indexing", written, "texts") as advance:
        for part, found, missing in work:
            write(operations, part.path, _batches(missing), advance)
            operations.perform(UpdateTenant(tenant=part.slug, metadata=_mark(len(found))))
    return Indexed(texts, written, time.perf_counter() - began)


def _tenant(operations: Operations, part: Part) -> Tenant:
    ours = operations.perform(ListTenants(external_id=part.external_id)).items
    if ours:
        return ours[0]
    try:
        return operations.perform(CreateTenant(name=part.name, slug=part.slug, external_id=part.external_id))
    except AlreadyExists:
        raise InvalidArgument(
            "data",
            f"tenant {part.slug} exists and does not belong to the demo: use another directory with --data",
        ) from None


def _collection(operations: Operations, part: Part, model: str) -> None:
    try:
        operations.perform(GetDatabase(tenant=part.slug, database=DATABASE))
    except NotFound:
        operations.perform(
            CreateDatabase(tenant=part.slug, name=DATABASE, description="Python's standard library")
        )
    try:
        operations.perform(GetCollection(**part.path._asdict()))
    except NotFound:
        operations.perform(
            CreateCollection(tenant=part.slug, database=DATABASE, name=COLLECTION, embedding_model=model)
        )


def _mark(texts: int) -> dict[str, Any]:
    """Return the metadata that marks a tenant as completely indexed."""
    return {"demo": {"python": "{}.{}.{}".format(*sys.version_info), "texts": texts}}


def _ids(operations: Operations, path: CollectionPath) -> Iterator[str]:
    cursor = None
    while True:
        page = operations.perform(
            ScanDocuments(**path._asdict(), include=(), limit=MAX_PAGE_LIMIT, cursor=cursor)
        )
        yield from (document.id for document in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return


def _batches(texts: list[corpus.Text]) -> Iterator[list[dict[str, Any]]]:
    source = iter(texts)
    while batch := [_document(text) for text in islice(source, BATCH_TEXTS)]:
        yield batch


def _document(text: corpus.Text) -> dict[str, Any]:
    metadata = {"module": text.module, "kind": text.kind, "name": text.name, "line": text.line}
    return {"id": text.name, "text": text.text, "metadata": metadata}
