"""The engines that are measured; those that are not installed are named and left out."""

from importlib.metadata import PackageNotFoundError, version

from akidb.bench.search.peers import akidb as own
from akidb.bench.search.peers import chroma, lance, qdrant, zvec_collection
from akidb.bench.search.peers.base import Engine, Many
from akidb.bench.search.peers.exact import Exact
from akidb.bench.search.peers.raw_faiss import RawFaiss
from akidb.bench.search.peers.usearch_index import USearch

_ALL: tuple[type[Engine], ...] = (
    own.AkiDB,
    RawFaiss,
    zvec_collection.Zvec,
    qdrant.QdrantEdge,
    USearch,
    lance.Lance,
    chroma.Chroma,
    Exact,
)
ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in _ALL}
"""By name, in the order of the tables."""
MANY: dict[str, type[Many]] = {
    own.AkiDB.name: own.Many,
    zvec_collection.Zvec.name: zvec_collection.Many,
    qdrant.QdrantEdge.name: qdrant.Many,
    lance.Lance.name: lance.Many,
    chroma.Chroma.name: chroma.Many,
}


MANY_TENANTS: dict[str, type[Many]] = {own.AkiDB.name: own.ManyTenants}
"""Those that have tenants with stores of their own."""


def installed() -> dict[str, str | None]:
    """Return the version of each engine's distribution; None if it is not installed."""
    found: dict[str, str | None] = {}
    for name, engine in ENGINES.items():
        try:
            found[name] = version(engine.package)
        except PackageNotFoundError:
            found[name] = None
    return found
