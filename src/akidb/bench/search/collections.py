"""The table of many small collections in one store."""

from statistics import median

from akidb.bench.search.peers import MANY
from akidb.bench.search.searching import AKIDB
from akidb.bench.search.stage import Run, say
from akidb.bench.search.tables import Cell, Table
from akidb.bench.search.worker import SMALL, Opened, Timed

CREATE_MS = 1.0
FIRST_MS = 300
EACH_MB = 0.01


def collections(run: Run) -> list[Table]:
    """Create collections of ten documents; in a fresh process open the store and search one, then all."""
    rows: list[list[Cell]] = []
    plan = run.plan
    for engine in run.engines:
        if engine not in MANY:
            continue
        say(f"{engine}: collections ...")
        folder = run.folder(engine, "many")
        with run.fresh(engine) as worker:
            arguments = {"folder": folder, "count": plan.collections, "seconds": plan.collections_seconds}
            created = run.tried(f"{engine}, collections", worker, "create_many", **arguments)
        if not created:
            continue
        with run.fresh(engine) as worker:
            arguments = {"folder": folder, "count": len(created), "seconds": plan.collections_seconds}
            found = run.tried(f"{engine}, collections", worker, "open_many", **arguments)
        if found is not None:
            rows.append(_row(engine, created, *found))
    title = (
        f"collections: {plan.collections:,} of {SMALL} documents each, or as many as could be made in"
        f" {plan.collections_seconds:g} s; then all searched in a fresh process"
    )
    columns = ("engine", "made", "create ms", "p95 ms", "open ms", "first search ms", "p50 us", "open files")
    return [
        Table(name="collections", title=title, columns=(*columns, "MB each", "goals", "reached"), rows=rows)
    ]


def _row(engine: str, created: list[float], opened: Opened, timed: Timed) -> list[Cell]:
    create = median(created) * 1e3
    start = (opened.open + opened.first) * 1e3
    each = (opened.resident_bytes - opened.before_bytes) / 2**20 / len(timed.seconds)
    goal: tuple[Cell, Cell] = ("", "")
    if engine == AKIDB:
        reached = {
            "create": create <= CREATE_MS,
            "open and first search": start <= FIRST_MS,
            "files": opened.files == 0,
            "memory": each <= EACH_MB,
        }
        missed = [name for name, met in reached.items() if not met]
        wanted = (
            f"create <= {CREATE_MS:g} ms, open and first search <= {FIRST_MS} ms, 0 files, <= {EACH_MB} MB"
        )
        goal = (wanted, "no: " + ", ".join(missed) if missed else "yes")
    return [
        *(engine, len(created), create, sorted(created)[int(len(created) * 0.95)] * 1e3),
        *(opened.open * 1e3, opened.first * 1e3, median(timed.seconds) * 1e6, opened.files, each),
        *goal,
    ]
