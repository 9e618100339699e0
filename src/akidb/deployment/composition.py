"""Wires the adapters and services of a deployment together."""

import secrets
import time
import weakref
from contextlib import suppress
from datetime import timedelta
from functools import partial

from akidb.archive import FramedArchives
from akidb.deployment.machine import memory_bytes
from akidb.deployment.models import local_models
from akidb.deployment.places import Location, Place, open_place
from akidb.documents.schema import STEPS
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.legacy import LegacyFiles
from akidb.metadata import schema
from akidb.observe import telemetry
from akidb.observe.operations import hide, show
from akidb.observe.telemetry import IndexFigures, Listener, StoreFigures, StoreKind
from akidb.ports.clock import Clock
from akidb.search.index import LocalIndex
from akidb.search.keywords.indexes import FtsKeywords
from akidb.search.local_columns import LocalColumns
from akidb.search.memory import Memory
from akidb.services.admission import Admission
from akidb.services.answer_limits import AnswerLimits
from akidb.services.archive_scratch import ArchiveScratch
from akidb.services.archives import ArchiveService
from akidb.services.audit import AuditService
from akidb.services.changes import ChangeService
from akidb.services.collections import CollectionService
from akidb.services.databases import DatabaseService
from akidb.services.denials import Denials
from akidb.services.dimensions import Dimensions
from akidb.services.dispatch import Dispatcher
from akidb.services.documents import DocumentService
from akidb.services.embeddings import EmbeddingService
from akidb.services.maintenance import Maintenance
from akidb.services.migration import MigrationService
from akidb.services.passwords import Passwords
from akidb.services.purging import Purging
from akidb.services.rate import RateLimiter
from akidb.services.retries import read_again
from akidb.services.scope_cache import ScopeCache
from akidb.services.search import SearchService
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess
from akidb.services.tenants import TenantService
from akidb.services.transactions import Transactions
from akidb.services.upkeep import UpkeepService
from akidb.services.users import UserService
from akidb.settings import Settings
from akidb.sql.gate import FairGate

CLOSED = "the connection is closed"
ARCHIVE_TIMEOUT_SECONDS = 60.0
"""How long an export waits for other exports where they must run one at a time."""


def _clock_of(place: Place) -> Clock:
    return place.clock


def _unix_ms(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1000)


class Runtime:
    """One open deployment. Shared by all connections of this process to it."""

    def __init__(self, target: Location, settings: Settings, *, restoring: bool = False) -> None:
        self.target = target
        self.settings = settings
        self.connections = 0
        self.abandoned = False
        """Whether this is the copy in a forked child, whose resources belong to the parent."""
        self._tracing = _tracing(settings)
        self.place = open_place(target, settings, restoring=restoring)
        self.metadata, self.tenant_stores = self.place.metadata, self.place.tenant_stores
        try:
            self._put_together(settings)
            self.purging.unfinished = self.place.was_killed  # possibly in the middle of a purge
            with suppress(Unavailable):  # a file that cannot be removed must not block other tenants
                self.stores.finish_purges()
        except BaseException:
            self.place.close()
            raise
        show(self)
        if self._tracing is not None:
            telemetry.listen(self._tracing)
        if not restoring:
            self.maintenance.start()

    def figures(self) -> dict[StoreKind, StoreFigures]:
        """Return the current gauges of the stores."""
        return {"metadata": self.metadata.figures(), "tenant": self.tenant_stores.figures()}

    def index_figures(self) -> IndexFigures:
        """Return the current gauges of the search indexes."""
        return self.index.figures()

    def outbox_depth(self) -> int:
        """Return the number of pending outbox entries."""
        with self.admission:
            return read_again(self._outbox_depth, "metadata")

    def _outbox_depth(self) -> int:
        with self.metadata.read() as tx:
            return tx.outbox.depth()

    def _put_together(self, settings: Settings) -> None:
        self.admission = Admission(slow_operation_seconds=settings.slow_operation_seconds)
        clock = _clock_of(self.place)
        ids = IdGenerator(partial(_unix_ms, clock), secrets.randbits)
        memory = Memory(self.place.indexes, settings.index_memory_bytes or memory_bytes() // 2)
        self.index = index = LocalIndex(memory, self.place.indexes_disk)
        columns = LocalColumns(memory)
        self.keywords = keywords = FtsKeywords(self.place.indexes, self.place.indexes_disk, clock.now)
        self.limiter = limiter = RateLimiter(time.monotonic, wait_seconds=settings.wait_seconds)
        models = local_models(settings)
        self.stores = StoreAccess(self.metadata, self.tenant_stores, index, keywords, ids)
        signals = Signals()
        retention = timedelta(seconds=settings.retention_seconds)
        transactions = Transactions(self.metadata, self.stores, ids, clock, signals, retention)
        copies = self.place.copies
        self.purging = Purging(self.metadata, self.stores, limiter, copies)
        self.denials = Denials(transactions)
        self.maintenance = Maintenance(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            keywords=keywords,
            purging=self.purging,
            copies=copies,
            ids=ids,
            clock=clock,
            retention=retention,
            disk=self.place.disk,
            keep_place=self.place.keep,
            denials=self.denials,
        )
        self.default_model = settings.default_model
        self.ids = ids
        self.scratch = ArchiveScratch(self.place.scratch, self.place.scratch_disk)
        embeddings = EmbeddingService(models, settings.default_model)
        dimensions = Dimensions(self.metadata, self.stores, clock, signals)
        limits = AnswerLimits(settings.max_answer_bytes, settings.filter_timeout_seconds)
        self.dispatcher = Dispatcher(
            self.admission,
            self.metadata,
            transactions,
            ScopeCache(self.metadata),
            dimensions,
            limiter,
            self.place.disk,
        )
        for service in (
            TenantService(self.metadata, transactions, self.stores, index, self.purging, ids, limits),
            DatabaseService(self.purging, ids, limits),
            CollectionService(self.metadata, dimensions, self.purging, models, ids, limits),
            DocumentService(
                stores=self.stores,
                columns=columns,
                dimensions=dimensions,
                embeddings=embeddings,
                ids=ids,
                clock=clock,
                signals=signals,
                limits=limits,
            ),
            self._search_service(columns, embeddings, limits),
            self._change_service(signals, limits),
            UserService(self.metadata, transactions, Passwords(), self.denials, ids, limits),
            AuditService(limits),
            embeddings,
            self._archive_service(transactions, clock),
            MigrationService(self.metadata, self.stores, LegacyFiles(), ids, clock.now),
            UpkeepService(self.metadata, self.stores, self.tenant_stores, self.maintenance, clock),
        ):
            self.dispatcher.add(service)

    def _search_service(
        self, columns: LocalColumns, embeddings: EmbeddingService, limits: AnswerLimits
    ) -> SearchService:
        return SearchService(
            stores=self.stores,
            index=self.index,
            keywords=self.keywords,
            columns=columns,
            embeddings=embeddings,
            limits=limits,
        )

    def _archive_service(self, transactions: Transactions, clock: Clock) -> ArchiveService:
        return ArchiveService(
            metadata=self.metadata,
            transactions=transactions,
            stores=self.stores,
            tenant_stores=self.tenant_stores,
            ids=self.ids,
            clock=clock,
            scratch=self.scratch,
            format=FramedArchives(),
            turn=FairGate("archive", ARCHIVE_TIMEOUT_SECONDS),
            schemas=(schema.HEAD, len(STEPS)),
        )

    def _change_service(self, signals: Signals, limits: AnswerLimits) -> ChangeService:
        return ChangeService(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            signals=signals,
            limits=limits,
        )

    def close(self) -> None:
        """Wait for the running operations, finish what is pending, and close the stores."""
        hide(self)
        self.maintenance.stop()
        self.limiter.stop(CLOSED)
        self.admission.drain(CLOSED)
        self.denials.flush()
        if self.purging.unfinished:  # no reader is left
            with suppress(Unavailable):
                self.purging.finish()
        with suppress(AkiDBError):  # before closing the stores uses what another program has written
            self.stores.displacements()
        self.index.close()
        self.keywords.close()
        self.place.close()
        every_runtime.discard(self)
        if self._tracing is not None:
            telemetry.leave(self._tracing)


def _tracing(settings: Settings) -> Listener | None:
    """Return the tracing listener, or None if off. Raises Unavailable without OpenTelemetry installed."""
    if settings.tracing == "off":
        return None
    from akidb.observe.tracing import tracing

    return tracing()


every_runtime: "weakref.WeakSet[Runtime]" = weakref.WeakSet()
