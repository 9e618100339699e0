"""The tables of many small collections: in one store, and in a store of a tenant each."""

from statistics import median
from typing import Any

from akidb.bench.search.peers import MANY, MANY_TENANTS
from akidb.bench.search.searching import AKIDB
from akidb.bench.search.stage import Run, say
from akidb.bench.search.tables import Cell, Table
from akidb.bench.search.worker import SMALL, ManyOpened, Timed

CREATE_MS = 1.0
FIRST_MS = 300
EACH_MB = 0.01
AMONG = 1.25
"""How much longer a search may take with all collections loaded than with one."""
COLUMNS = (
    *("engine", "made", "create ms", "create cpu ms", "open ms", "first search ms", "each us"),
    *("alone us", "among all us", "open files", "threads", "MB each", "goals", "reached"),
)


def collections(run: Run) -> list[Table]:
    """Create collections of ten documents; in a fresh process open the store and search one, then all."""
    seconds = f"or as many as could be made in {run.plan.collections_seconds:g} s"
    then = "then all searched in a fresh process"
    found = [
        Table(
            name="collections",
            title=f"collections: {run.plan.collections:,} of {SMALL} documents each, {seconds}; {then}",
            columns=COLUMNS,
            rows=_rows(run, run.plan.collections, [each for each in run.engines if each in MANY]),
        )
    ]
    with_tenants = [each for each in run.engines if each in MANY_TENANTS]
    if with_tenants:
        title = f"tenants: {run.plan.tenants:,} with a store and a collection each, {seconds}; {then}"
        rows = _rows(run, run.plan.tenants, with_tenants, tenants=True)
        found.append(Table(name="collections", title=title, columns=COLUMNS, rows=rows))
    return found


def _rows(run: Run, count: int, engines: list[str], *, tenants: bool = False) -> list[list[Cell]]:
    what = "tenants" if tenants else "collections"
    given: dict[str, Any] = {"seconds": run.plan.collections_seconds, "tenants": tenants}
    rows: list[list[Cell]] = []
    for engine in engines:
        say(f"{engine}: {what} ...")
        given["folder"] = run.folder(engine, f"many-{what}")
        with run.fresh(engine) as worker:
            created = run.tried(f"{engine}, {what}", worker, "create_many", count=count, **given)
        if not created or not created.seconds:
            continue
        with run.fresh(engine) as worker:
            made = len(created.seconds)
            found = run.tried(f"{engine}, {what}", worker, "open_many", count=made, **given)
        if found is not None:
            vectors_mb = SMALL * 4 * run.data.dimension / 2**20
            opened, timed = found
            is_judged = engine == AKIDB and not tenants
            goal = _goal(created, opened, timed, vectors_mb) if is_judged else ("", "")
            rows.append([engine, *_figures(created, opened, timed), *goal])
    return rows


def _cpu_ms(created: Timed) -> float:
    """Return the CPU of a creation: what it takes beyond waiting for the disk."""
    return created.cpu / len(created.seconds) * 1e3


def _each_mb(opened: ManyOpened, timed: Timed) -> float:
    return (opened.resident_bytes - opened.before_bytes) / 2**20 / len(timed.seconds)


def _figures(created: Timed, opened: ManyOpened, timed: Timed) -> list[Cell]:
    return [
        *(len(created.seconds), median(created.seconds) * 1e3, _cpu_ms(created)),
        *(opened.open * 1e3, opened.first * 1e3, median(timed.seconds) * 1e6),
        *(opened.alone * 1e6, opened.among * 1e6, opened.files, opened.threads),
        _each_mb(opened, timed),
    ]


def _goal(created: Timed, opened: ManyOpened, timed: Timed, vectors_mb: float) -> tuple[str, str]:
    reached = {
        "create": _cpu_ms(created) <= CREATE_MS,
        "open and first search": (opened.open + opened.first) * 1e3 <= FIRST_MS,
        "files": opened.files <= opened.before_files,
        "memory": _each_mb(opened, timed) - vectors_mb <= EACH_MB,
        "among all": opened.among <= AMONG * opened.alone,
    }
    missed = [name for name, met in reached.items() if not met]
    wanted = (
        f"create <= {CREATE_MS:g} ms of CPU, open and first search <= {FIRST_MS} ms, no file and"
        f" <= {EACH_MB} MB each beside its vectors, among all as alone"
    )
    return wanted, "no: " + ", ".join(missed) if missed else "yes"
