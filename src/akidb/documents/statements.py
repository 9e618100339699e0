"""The statements on tenant stores, built once per kind of table."""

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from akidb.documents.tables import FILE, SHARED, Tables
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState
from akidb.ports.documents import CollectionControl, ControlState
from akidb.sql.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROWTH: sa.BindParameter[int] = sa.bindparam("bytes")
_MORE: sa.BindParameter[int] = sa.bindparam("documents")


def _stored(
    documents: sa.Table, *, contents: bool = True, vector: bool = True
) -> tuple[sa.ColumnElement[Any], ...]:
    """Return the columns of a document in the order of `checksums.Stored`."""
    c = documents.c
    return (
        *(c.document_key, c.sequence, c.id),
        c.text if contents else sa.null().label("text"),
        c.metadata if contents else sa.literal_column("'{}'").label("metadata"),
        c.vector if vector else sa.null().label("vector"),
        c.content_checksum if contents else sa.null().label("content_checksum"),
        c.vector_checksum if vector else sa.null().label("vector_checksum"),
    )


class Statements:
    """Each statement takes the parameters of `TenantSql.own` in addition to its own."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._make_controls(tables)
        self._make_reads(tables)
        self._make_accounts(tables)
        self._make_states(tables)

    def _make_controls(self, tables: Tables) -> None:
        control, collections = tables.control, tables.collections
        fields = (
            (control if name == "tenant_status" else collections).c[name]
            for name in CollectionControl.__struct_fields__
        )
        # The tenant's row first, so that both rows are always locked in the same order.
        together = control.join(collections, sa.true())
        all_of_tenant = (
            sa.select(*fields).select_from(together).where(*tables.own(control), *tables.own(collections))
        )
        one = all_of_tenant.where(collections.c.collection_id == sa.bindparam("collection_id"))
        self.control = Prepared(one, CollectionControl)
        self.control_to_write = Prepared(one.with_for_update(), CollectionControl)
        """Other writers of the tenant's store wait until this transaction ends."""
        self.all_controls = Prepared(all_of_tenant.order_by(collections.c.collection_key), CollectionControl)
        self.dimension = Prepared(
            sa.select(collections.c.dimension).where(
                *tables.own(collections), collections.c.collection_id == sa.bindparam("collection_id")
            )
        )
        key = sa.bindparam("key", type_=sa.BigInteger())
        self.settle_dimension = Prepared(
            sa.update(collections)
            .where(*tables.own(collections), collections.c.collection_key == key)
            .values(dimension=sa.bindparam("dimension"))
        )
        self.state = Prepared(
            sa.select(*(control.c[name] for name in ControlState._fields)).where(*tables.own(control))
        )
        self.identity = Prepared(
            sa.select(control.c.store_id, control.c.tenant_id, control.c.tenant_version).where(
                *tables.own(control)
            )
        )
        self.collection_count = Prepared(
            sa.select(sa.func.count()).select_from(collections).where(*tables.own(collections))
        )
        self.lock = Prepared(sa.select(control.c.store_id).where(*tables.own(control)).with_for_update())
        self.document_count = Prepared(
            sa.select(
                sa.cast(sa.func.coalesce(sa.func.sum(collections.c.document_count), 0), sa.BigInteger)
            ).where(
                *tables.own(collections),
                collections.c.state != CollectionState.DELETING,
                collections.c.database_state != DatabaseState.DELETING,
            )
        )

    def _make_reads(self, tables: Tables) -> None:
        documents = tables.documents
        collection_key = sa.bindparam("collection_key", type_=sa.BigInteger())
        owned = (*tables.own(documents), documents.c.collection_key == collection_key)
        parts = {vector: _stored(documents, vector=vector) for vector in (True, False)}
        # The `+ 0` keeps SQLite from using the index on the collection, which would scan all of its rows.
        same_collection = documents.c.collection_key + sa.literal_column("0") == collection_key
        self.by_key = {
            vector: Prepared(
                sa.select(*columns).where(
                    *tables.own(documents), tables.any_of(documents.c.document_key, "wanted"), same_collection
                )
            )
            for vector, columns in parts.items()
        }
        self.by_id = {
            vector: Prepared(sa.select(*columns).where(*owned, tables.any_of(documents.c.id, "wanted")))
            for vector, columns in parts.items()
        }
        self.page = {
            vector: Prepared(
                sa.select(*columns)
                .where(*owned, documents.c.id > sa.bindparam("after"))
                .order_by(documents.c.id)
                .limit(sa.bindparam("rows"))
            )
            for vector, columns in parts.items()
        }
        self._make_selections(tables, collection_key, owned, same_collection)

    def _make_selections(
        self,
        tables: Tables,
        collection_key: sa.BindParameter[int],
        owned: tuple[sa.ColumnElement[bool], ...],
        same_collection: sa.ColumnElement[bool],
    ) -> None:
        documents, tombstones = tables.documents, tables.tombstones
        since = sa.bindparam("since", type_=sa.BigInteger())
        self.rows = {
            parts: Prepared(
                sa.select(*_stored(documents, contents=parts[0], vector=parts[1]))
                .where(*owned, documents.c.sequence > since)
                .order_by(documents.c.sequence)
            )
            for parts in ((True, True), (True, False), (False, True))
        }
        """By whether they have contents and vectors."""
        self.versions = Prepared(
            sa.select(documents.c.document_key, documents.c.sequence)
            .where(*owned)
            .order_by(documents.c.sequence)
        )
        self.deleted = Prepared(
            sa.select(tombstones.c.sequence, tombstones.c.id, tombstones.c.checksum)
            .where(
                *tables.own(tombstones),
                tombstones.c.collection_key == collection_key,
                tombstones.c.sequence > since,
            )
            .order_by(tombstones.c.sequence)
        )
        answers = tables.remembered_answers
        kept = ("scope", "key", "fingerprint", "answer", "checksum", "collection_key")
        self.kept_answers = Prepared(
            sa.select(*(answers.c[name] for name in kept)).where(*tables.own(answers))
        )
        self.deletions = Prepared(
            sa.select(
                *(tombstones.c[name] for name in ("sequence", "id", "checksum", "collection_key"))
            ).where(*tables.own(tombstones))
        )
        self.whole = Prepared(
            sa.select(*_stored(documents), documents.c.collection_key)
            .where(*tables.own(documents))
            .order_by(documents.c.document_key)
        )
        stored = _stored(documents, vector=False)
        chosen = sa.select(*stored, documents.c.size_bytes).where(*owned).order_by(documents.c.id)
        self.chosen = Prepared(chosen)
        self.chosen_by_id = Prepared(chosen.where(tables.any_of(documents.c.id, "wanted")))
        self.chosen_by_key = Prepared(
            sa.select(*stored, documents.c.size_bytes).where(
                *tables.own(documents), tables.any_of(documents.c.document_key, "wanted"), same_collection
            )
        )
        self.without_vector = Prepared(
            sa.select(documents.c.id).where(
                *owned, tables.any_of(documents.c.id, "wanted"), sa.func.length(documents.c.vector) == 0
            )
        )
        self.clear = Prepared(sa.delete(documents).where(*owned))
        self.sizes = Prepared(
            sa.select(documents.c.id, documents.c.size_bytes, documents.c.document_key)
            .where(*owned, tables.any_of(documents.c.id, "wanted"))
            .order_by(documents.c.id)
        )

    def _make_accounts(self, tables: Tables) -> None:
        control, collections, tombstones = tables.control, tables.collections, tables.tombstones
        self.use_storage = Prepared(
            sa.update(control)
            .where(
                *tables.own(control),
                sa.or_(_GROWTH <= 0, control.c.storage_used_bytes <= control.c.storage_quota_bytes - _GROWTH),
            )
            .values(storage_used_bytes=control.c.storage_used_bytes + _GROWTH)
        )
        self.storage = Prepared(
            sa.select(control.c.storage_quota_bytes, control.c.storage_used_bytes).where(*tables.own(control))
        )
        self.answers = Prepared(
            sa.select(control.c.answers_bytes, control.c.storage_quota_bytes).where(*tables.own(control))
        )
        of_collection = (
            *tables.own(collections),
            collections.c.collection_key == sa.bindparam("key", type_=sa.BigInteger()),
        )
        self.use_collection = Prepared(
            sa.update(collections)
            .where(
                *of_collection,
                sa.or_(_MORE <= 0, collections.c.document_count <= collections.c.max_document_count - _MORE),
            )
            .values(
                document_count=collections.c.document_count + _MORE,
                storage_used_bytes=collections.c.storage_used_bytes + sa.bindparam("bytes"),
                sequence=collections.c.sequence + sa.bindparam("writes"),
            )
        )
        floor = sa.bindparam("floor", type_=sa.BigInteger())
        self.forget_tombstones = Prepared(
            sa.delete(tombstones).where(
                *tables.own(tombstones),
                tombstones.c.collection_key == sa.bindparam("key", type_=sa.BigInteger()),
                tombstones.c.sequence <= floor,
            )
        )
        self.raise_floor = Prepared(
            sa.update(collections)
            .where(*of_collection, collections.c.tombstone_floor < floor)
            .values(tombstone_floor=floor)
        )
        self.collection_size = Prepared(
            sa.select(collections.c.storage_used_bytes).where(
                *tables.own(collections),
                collections.c.collection_key == sa.bindparam("collection_key", type_=sa.BigInteger()),
            )
        )
        self.deletions_taken = Prepared(
            sa.select(control.c.deletions_bytes, control.c.storage_quota_bytes).where(*tables.own(control))
        )
        taken = tables.deletion_bytes
        total = sa.cast(sa.func.sum(taken), sa.BigInteger).label("taken")
        self.deletions_of_collections = Prepared(
            sa.select(tombstones.c.collection_key, total)
            .where(*tables.own(tombstones))
            .group_by(tombstones.c.collection_key)
            .order_by(total.desc())
        )
        """With the bytes of each, the most first."""
        of_key = tombstones.c.collection_key == sa.bindparam("collection_key", type_=sa.BigInteger())
        self.oldest_deletions = Prepared(
            sa.select(tombstones.c.sequence, taken)
            .where(*tables.own(tombstones), of_key)
            .order_by(tombstones.c.sequence)
        )

    def _make_states(self, tables: Tables) -> None:
        """Make the statements that apply states of the metadata: a new collection must not wait for them."""
        control, collections = tables.control, tables.collections

        def given(column: sa.Column[Any]) -> sa.BindParameter[Any]:
            return sa.bindparam(f"given_{column.name}", type_=column.type)

        states = ("tenant_version", "tenant_status", "storage_quota_bytes")
        self.apply_tenant = Prepared(
            sa.update(control)
            .where(*tables.own(control))
            .values({name: given(control.c[name]) for name in states})
        )
        c = collections.c
        changed = (c.database_id, c.version, c.state, c.database_state, c.max_document_count)
        # The store is ahead until the metadata have learned of the first vector.
        dimension = sa.func.coalesce(c.dimension, given(c.dimension))
        self.change_collection = Prepared(
            sa.update(collections)
            .where(*tables.own(collections), c.collection_id == given(c.collection_id))
            .values({column.name: given(column) for column in changed} | {"dimension": dimension})
        )
        self.add_collection = Prepared(
            sa.insert(collections).values(
                {
                    column.name: given(column)
                    for column in (
                        *([c.tenant_id] if tables.shared else []),
                        *(c.collection_id, c.dimension, c.metric, *changed),
                    )
                }
            )
        )


OF_FILE = Statements(FILE)
OF_SHARED = Statements(SHARED)


class TenantSql:
    """The statements and tenant parameters for the store of one tenant."""

    def __init__(self, statements: Statements, tenant_id: TenantId | None = None) -> None:
        """Pass `tenant_id` for shared tables."""
        self.statements = statements
        self.tables = statements.tables
        self.own: Mapping[str, TenantId] = {} if tenant_id is None else {"own_tenant_id": tenant_id}
        """The parameters of the conditions of `Tables.own`."""
        self.columns: Mapping[str, TenantId] = {} if tenant_id is None else {"tenant_id": tenant_id}
        """The extra columns of every row of the tenant."""


IN_FILE = TenantSql(OF_FILE)


def on_shared_tables(tenant_id: TenantId) -> TenantSql:
    """Return the SQL for one tenant in the shared tables."""
    return TenantSql(OF_SHARED, tenant_id)
