"""The tables of writing and opening: loads, memory, disk, first searches, searches beside writes."""

from akidb.bench.measure import Series
from akidb.bench.search.crew import Failed
from akidb.bench.search.peers import ENGINES
from akidb.bench.search.searching import AKIDB, TARGET
from akidb.bench.search.stage import WARM_SEARCHES, Run, say
from akidb.bench.search.tables import Cell, Table
from akidb.bench.search.worker import BATCH, Asking, Loaded, Opened, Timed

MB = 2**20
BATCH_RATE = 40_000
READY_RATE = 6000
RESIDENT_MB = 250
FIRST_MS = {10_000: 20, 100_000: 150}
LOADING_SECONDS = 3


def load(run: Run) -> list[Table]:
    """Bulk loads until the index is ready, and batches of 100."""
    run.all_loaded()
    return [_bulk(run, run.loaded), _batches(run, run.small_loaded())]


def _bulk(run: Run, loaded: dict[str, Loaded]) -> Table:
    rows: list[list[Cell]] = []
    for engine, took in loaded.items():
        written = sum(took.batches)
        rate = run.data.count / (written + took.ready)
        stored = run.data.count / written if ENGINES[engine].stores else None
        goal = (f">= {READY_RATE:,}", "yes" if rate >= READY_RATE else "no") if engine == AKIDB else ("", "")
        rows.append(
            [
                *(engine, ENGINES[engine].bulk, stored, took.ready, rate),
                *(took.disk_bytes / MB, *goal, ENGINES[engine].note),
            ]
        )
    title = f"load: {run.data.count:,} x {run.data.dimension} with text and metadata, from NumPy"
    columns = ("engine", "batch", "written/s", "index s", "documents/s", "disk MB", "goal", "reached", "how")
    note = "documents/s: until the index is ready; an index only has no text and metadata"
    return Table(name="load", title=title, columns=columns, rows=rows, note=note)


def _batches(run: Run, loaded: dict[str, Loaded]) -> Table:
    rows: list[list[Cell]] = []
    for engine, took in loaded.items():
        if not ENGINES[engine].stores:
            continue
        series = Series(took.batches)
        rate = BATCH / series.p50
        goal = (f">= {BATCH_RATE:,}", "yes" if rate >= BATCH_RATE else "no") if engine == AKIDB else ("", "")
        rows.append([engine, rate, BATCH / series.p95, *goal])
    title = f"load: {run.plan.small:,} documents in batches of {BATCH}"
    columns = ("engine", "documents/s, p50", "p95", "goal", "reached")
    return Table(name="batches", title=title, columns=columns, rows=rows)


def memory(run: Run) -> list[Table]:
    """Resident memory of the process that opened the store and searched it, and the disk."""
    run.all_loaded()
    rows: list[list[Cell]] = []
    for engine, opened in run.opened.items():
        resident = opened.resident_bytes / MB
        goal = (f"<= {RESIDENT_MB} MB", "yes" if resident <= RESIDENT_MB else "no")
        rows.append(
            [
                *(engine, resident, (opened.resident_bytes - opened.before_bytes) / MB, opened.files),
                *(run.loaded[engine].disk_bytes / MB, *(goal if engine == AKIDB else ("", ""))),
            ]
        )
    size = f"{run.data.count:,} x {run.data.dimension}"
    title = f"memory: a process that opened {size} and searched {WARM_SEARCHES} times"
    columns = ("engine", "resident MB", "of it grown", "open files", "disk MB", "goal", "reached")
    return [Table(name="memory", title=title, columns=columns, rows=rows)]


def first(run: Run) -> list[Table]:
    """The first search of a collection that is not loaded."""
    run.all_loaded()
    small = {engine: _opened(run, engine) for engine in run.small_loaded()}
    rows: list[list[Cell]] = []
    for count, bound, found in ((run.plan.small, 10_000, small), (run.data.count, 100_000, run.opened)):
        for engine, opened in found.items():
            if opened is not None:
                took = opened.first * 1e3
                goal = (f"<= {FIRST_MS[bound]} ms", "yes" if took <= FIRST_MS[bound] else "no")
                own = goal if engine == AKIDB else ("", "")
                rows.append([f"{count:,}", engine, opened.open * 1e3, took, *own])
    title = "first: the first search in a fresh process, files in the page cache"
    columns = ("documents", "engine", "open ms", "first search ms", "goal", "reached")
    return [Table(name="first", title=title, columns=columns, rows=rows)]


def while_loading(run: Run) -> list[Table]:
    """Searches at rest, and while another thread of the process writes batches of 100."""
    workers = run.all_loaded()
    asking = Asking.made(run.data.everything())
    seconds = min(LOADING_SECONDS, run.plan.seconds * 6)
    rows: list[list[Cell]] = []
    for engine, worker in workers.items():
        if not ENGINES[engine].stores:
            continue
        say(f"{engine}: searches while loading ...")
        point = run.choose(worker, run.data.everything(), TARGET)
        if point is None:
            continue
        arguments = {"asking": asking, "setting": point.setting, "seconds": seconds}
        try:
            rest: Timed = worker.call("time", threads=1, **arguments)
            beside: Timed = worker.call("while_loading", **arguments)
        except Failed as error:
            run.failed(f"{engine}, loading", str(error))
            continue
        ratio = _p(beside, 0.99) / _p(rest, 0.99)
        goal = ("p99 <= 2 x", "yes" if ratio <= 2 else "no") if engine == AKIDB else ("", "")
        at_rest = [_p(rest, 0.95) * 1e6, _p(rest, 0.99) * 1e6]
        rows.append(
            [engine, *at_rest, _p(beside, 0.95) * 1e6, _p(beside, 0.99) * 1e6, ratio, *goal],
        )
    title = f"loading: searches of {run.data.count:,} while another thread writes batches of {BATCH}"
    columns = ("engine", "p95 us", "p99 us", "p95, loading", "p99, loading", "p99 ratio", "goal", "reached")
    return [Table(name="loading", title=title, columns=columns, rows=rows)]


def _opened(run: Run, engine: str) -> Opened | None:
    """Open the small collection in a fresh process."""
    with run.fresh(engine) as worker:
        arguments = {"folder": run.folder(engine, "small"), "setting": 0, "searches": 0}
        found: Opened | None = run.tried(f"{engine}, first", worker, "open", **arguments)
        return found


def _p(timed: Timed, share: float) -> float:
    return sorted(timed.seconds)[int(len(timed.seconds) * share)]
