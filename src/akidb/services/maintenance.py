"""Background maintenance: purge entities past their retention, and finish interrupted work.

Processes sharing a PostgreSQL database share the work: each takes rows that no other has locked. Users wait
for maintenance at most as long as one batch takes.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import TypeVar

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import AkiDBError, Damaged, NotFound, Unavailable
from akidb.domain.ids import IdGenerator, TenantId
from akidb.domain.upkeep import MaintenanceReport
from akidb.observe import telemetry
from akidb.observe.context import said
from akidb.observe.interrupts import checkpoint
from akidb.observe.logs import logger
from akidb.observe.telemetry import OK
from akidb.ports.clock import Clock
from akidb.ports.conflicts import TransactionConflict
from akidb.ports.disk import Disk
from akidb.ports.keywords import KeywordIndexes
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.admission import Admission
from akidb.services.denials import Denials
from akidb.services.idempotency import expiry
from akidb.services.purging import PurgeableBackups, Purging
from akidb.services.retries import read_metadata, retried
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change

RETENTION_PASSED = "retention_passed"
"""Audit reason of a purge by maintenance."""
BATCH = 100
"""Entities purged per transaction; bounds how long other writers wait."""
FIRST_ROUND_SECONDS = 30.0
"""Longer than a CLI command takes: most processes end before their first round."""
ROUND_SECONDS = 60.0
THOROUGH_ROUNDS = 60
"""One in so many rounds looks at every file of an index, the first one included."""
WORTH_TELLING = timedelta(minutes=5)
"""How much later than by the clock a purge must be to be explained."""

EntityT = TypeVar("EntityT", Tenant, Database, Collection)
_log = logger("akidb.maintenance")


class Maintenance:
    """Runs one round at a time, by `run` or in the thread started by `start`."""

    def __init__(
        self,
        *,
        admission: Admission,
        metadata: MetadataStore,
        stores: StoreAccess,
        keywords: KeywordIndexes,
        purging: Purging,
        copies: PurgeableBackups,
        ids: IdGenerator,
        clock: Clock,
        retention: timedelta,
        disk: Disk,
        keep_place: Callable[[], object],
        denials: Denials,
    ) -> None:
        """Take the collaborators; each round calls `keep_place`, to publish again what was removed."""
        self._admission = admission
        self._metadata = metadata
        self._stores = stores
        self._keywords = keywords
        self._purging = purging
        self._copies = copies
        self._ids = ids
        self._clock = clock
        self._retention = retention
        self._disk = disk
        self._keep_place = keep_place
        self._denials = denials
        self._round = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start a background thread that runs rounds."""
        threading.Thread(target=self._run_rounds, name="akidb-maintenance", daemon=True).start()

    def stop(self) -> None:
        """Start no further batch. The admission waits for the running one."""
        self._stopped.set()

    def run(self, *, thorough: bool = True) -> MaintenanceReport:
        """Run one round now. Failures are reported, and retried in the next round.

        A round that is not `thorough` leaves out what takes time for each file of an index.
        """
        with self._round:
            self._keep_place()
            displaced = self._metadata.displacement()
            if displaced is not None:  # nothing can be written, and removing files could hit another's
                return _nothing_done(displaced)
            return self._work(thorough=thorough)

    def _work(self, *, thorough: bool) -> MaintenanceReport:
        with self._disk.releasing():
            problems = self._stores.displacements()
            before = self._clock.before(self._retention)
            settled = self._settle_stores(problems)
            tenants = self._sweep(
                lambda *ask: ask[0].tenants.expired(before, *ask[1:]), self._purging.tenant, problems
            )
            databases = self._sweep(
                lambda *ask: ask[0].databases.expired(before, *ask[1:]), self._purging.database, problems
            )
            collections = self._sweep(
                lambda *ask: ask[0].collections.expired(before, *ask[1:]), self._purging.collection, problems
            )
            copies, waiting = 0, None
            try:
                with self._admission:
                    waiting = self._withheld(before)
                    if self._purging.unfinished or self._has_purges():
                        self._purging.finish()
                    copies = self._copies.remove(until=before)
                    self._forget_answers()
                    self._denials.flush()
                    self._stores.forget_absent(files=thorough)
                    self._keywords.close_idle()
                    if thorough:
                        self._keywords.remove_unused(before)
                    self._stores.checkpoint_idle()
            except AkiDBError as error:
                problems.append(said(error))
            for entity, purged in (("tenant", tenants), ("database", databases), ("collection", collections)):
                telemetry.count("purges", entity, purged)
            telemetry.count("sweeps", "unavailable" if problems else OK)
            return MaintenanceReport(
                tenants_purged=tenants,
                databases_purged=databases,
                collections_purged=collections,
                stores_settled=settled,
                copies_removed=copies,
                traces_remain=self._purging.unfinished,
                problems=problems,
                waiting=waiting,
            )

    def _run_rounds(self) -> None:
        wait, told = FIRST_ROUND_SECONDS, None
        rounds = count()
        while not self._stopped.wait(wait):
            try:
                report = self.run(thorough=next(rounds) % THOROUGH_ROUNDS == 0)
            except Unavailable:
                continue  # closing, or a failure that the next round retries
            except Exception:  # noqa: BLE001 - the thread must survive; the next round may succeed
                _log.exception("a round of maintenance failed")
                continue
            finally:
                wait = ROUND_SECONDS
            for problem in report.problems:
                _log.warning("maintenance: %s", problem)
            if report.waiting is not None and report.waiting != told:  # once, not each minute for days
                _log.warning("maintenance: %s", report.waiting)
            told = report.waiting

    def _settle_stores(self, problems: list[str]) -> int:
        """Apply pending outbox entries that an ended process left; return the number of stores."""
        with self._admission:
            damaged: dict[str, None] = {}
            waiting = read_metadata(self._metadata, lambda tx: tx.outbox.waiting(_said_to(damaged)))
        problems += damaged
        settled = 0
        for tenant_id, _first in waiting:
            settled += self._settle(tenant_id, problems)
        return settled

    def _settle(self, tenant_id: TenantId, problems: list[str]) -> bool:
        try:
            with self._admission:
                self._stores.apply_pending(tenant_id)
        except NotFound:  # purged meanwhile
            return False
        except AkiDBError as error:  # a failing store must not block the others
            problems.append(said(error))
            return False
        return True

    def _sweep(
        self,
        expired: Callable[..., Sequence[EntityT]],
        purge: Callable[..., None],
        problems: list[str],
    ) -> int:
        """Purge expired entities in batches; return their number."""
        purged = 0
        damaged: dict[str, None] = {}
        tell = _said_to(damaged)
        while not self._stopped.is_set():
            checkpoint()
            with self._admission:
                if not read_metadata(self._metadata, lambda tx: expired(tx, 1, tell)):
                    break
                try:
                    found, concerns_store = retried(lambda: self._purge_batch(expired, purge), "metadata")
                except TransactionConflict as error:
                    problems.append(said(error))
                    break
            purged += len(found)
            if concerns_store:
                for tenant_id in {each.tenant_id for each in found}:
                    self._settle(tenant_id, problems)
            if not found:
                break  # the remaining ones are locked by other processes
        problems += [f"not purged: {said}" for said in damaged]
        return purged

    def _purge_batch(
        self, expired: Callable[..., Sequence[EntityT]], purge: Callable[..., None]
    ) -> tuple[Sequence[EntityT], bool]:
        """Purge a batch in one transaction; return it, and whether outbox entries were added."""
        change = Change(self._clock.now(), self._ids)
        with self._metadata.transaction() as tx:
            change.tx = tx
            # Read again inside the transaction: an entity may have been restored in between.
            found = expired(tx, BATCH)
            # A purge locks rows of its tenant: a consistent lock order prevents deadlocks.
            for each in sorted(found, key=lambda entity: entity.tenant_id.raw):
                purge(change, each, reason=RETENTION_PASSED)
        return found, change.concerns_store

    def _forget_answers(self) -> None:
        """Delete expired responses of idempotency keys; those of documents go with the next one stored."""
        by = expiry(self._clock)
        with self._metadata.read() as tx:
            if not tx.answers.has_expired(by):
                return
        with self._metadata.transaction() as tx:
            tx.answers.forget_expired(by)

    def _withheld(self, before: datetime) -> str | None:
        """Return why something is not purged whose retention has passed by the clock alone."""
        wanted = self._clock.now() - self._retention
        if wanted - before < WORTH_TELLING:
            return None

        def some(tx: MetadataTransaction) -> bool:
            kinds = (tx.tenants, tx.databases, tx.collections)
            return any(kind.expired(wanted, 1) for kind in kinds)

        if not read_metadata(self._metadata, some):
            return None
        reason = self._clock.doubt() or "the clock has not been watched for as long as the retention"
        return f"deleted data is kept longer: {reason}"

    def _has_purges(self) -> bool:
        return bool(read_metadata(self._metadata, lambda tx: tx.outbox.purges()))


def _said_to(messages: dict[str, None]) -> Callable[[Damaged], None]:
    """Return a function that collects what errors say, each once."""

    def take(error: Damaged) -> None:
        messages[said(error)] = None

    return take


def _nothing_done(problem: str) -> MaintenanceReport:
    return MaintenanceReport(
        tenants_purged=0,
        databases_purged=0,
        collections_purged=0,
        stores_settled=0,
        copies_removed=0,
        traces_remain=False,
        problems=[problem],
    )
