"""Reference model of AkiDB's metadata in plain dicts: rows, states, quotas, audit, feeds, results.

It is written from the specification and shares no table, query or rule with the program, only its error
classes. Rows hold the fields visible to callers; names that begin with `_` are internal.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from akidb.domain.errors import (
    AlreadyExists,
    IdempotencyMismatch,
    InvalidState,
    NotFound,
    PreconditionFailed,
    RateLimited,
)

Row = dict[str, Any]

RETENTION = timedelta(days=7)
ANSWERS_KEPT = timedelta(hours=24)

NICKNAMES = {"tenant": "slug", "database": "name", "collection": "name", "user": "email"}
STATES = {"tenant": "status", "database": "state", "collection": "state", "user": "status"}
BELOW = {"tenant": ["user", "collection", "database"], "database": ["collection"], "collection": []}
DELETED = {"tenant": "decommissioned", "database": "deleting", "collection": "deleting"}

_METADATA = {"audit_read", "metadata_read", "metadata_write"}
_READS = {"audit_read", "metadata_read"}
_ALL = {*_METADATA, "document_read", "document_write"}
PERMITTED: dict[tuple[str, str], set[str]] = {
    ("tenant", "provisioning"): _METADATA,
    ("tenant", "active"): _ALL,
    ("tenant", "suspended"): _READS,
    ("database", "provisioning"): _METADATA,
    ("database", "ready"): _ALL,
    ("database", "migrating"): {*_READS, "document_read"},
    ("collection", "ready"): _ALL,
}
MOVES: dict[tuple[str, str], list[str]] = {
    ("tenant", "provisioning"): ["active", "decommissioned"],
    ("tenant", "active"): ["suspended", "decommissioned"],
    ("tenant", "suspended"): ["active", "decommissioned"],
    ("database", "provisioning"): ["ready", "deleting"],
    ("database", "ready"): ["migrating", "deleting"],
    ("database", "migrating"): ["ready", "deleting"],
    ("user", "active"): ["suspended", "deactivated"],
    ("user", "suspended"): ["active", "deactivated"],
    ("user", "deactivated"): ["active"],
}


class Answer(NamedTuple):
    """What is remembered of a request that bore a key."""

    arguments: Any
    answer: Any
    owner: str | None
    """The tenant, or for documents the collection, that it goes with."""
    at: datetime


class Request(NamedTuple):
    """How a call came."""

    operation: str
    path: tuple[str, ...]
    key: str | None
    runtime: int
    """Which process it came to: each has its own buckets of tokens."""
    new_id: str
    """The ID that the program gave to what the call made; all else is foretold."""


def folded(text: str) -> str:
    """A text as it is compared without regard to case."""
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", once.casefold())


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def visible(row: Row) -> Row:
    """The fields that a caller sees."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


class World:
    """The state, and what every operation does with it alike."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.seconds = 0.0
        self.request = Request("", (), None, 0, "")
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in NICKNAMES}
        self.documents: dict[str, dict[str, Row]] = {}
        self.audit: dict[str, list[Row]] = {}
        self.answers: dict[tuple[Any, ...], Answer] = {}
        self.sequences: dict[str, int] = {}
        """How many changes each tenant's feed had."""
        self.buckets: dict[tuple[int, str], tuple[float, float]] = {}
        self.owner: str | None = None
        """What the answer of the request at hand will go with."""

    # What there is.

    def all(self, kind: str, *, deleted: bool | None = None, **fields: str) -> Iterator[Row]:
        """Rows with these fields; `deleted` tells which, None stands for all of them."""
        for row in self.rows[kind].values():
            gone = row.get("deleted_at") is not None
            if deleted in {None, gone} and all(row[name] == value for name, value in fields.items()):
                yield row

    def find(self, kind: str, reference: str, *, deleted: bool = False, **fields: str) -> Row:
        row = self.rows[kind].get(reference)
        candidates = self.all(kind, deleted=deleted, **fields)
        for candidate in candidates:
            name = candidate[NICKNAMES[kind]]
            alike = folded(name) == folded(reference) if kind == "user" else name == reference
            if candidate is row or alike:
                return candidate
        raise NotFound(kind, reference)

    # What is asked of it before anything is done.

    def require(self, work: str, **rows: Row) -> None:
        for kind, row in rows.items():
            state = row[STATES[kind]]
            if work not in PERMITTED[kind, state]:
                raise InvalidState(kind, state, work, sorted(PERMITTED[kind, state]))

    def moves(self, kind: str, row: Row, target: str) -> bool:
        state = row[STATES[kind]]
        if state == target:
            return False
        if target not in MOVES[kind, state]:
            raise InvalidState(kind, state, f"a move to {target}", MOVES[kind, state])
        return True

    def check_version(self, kind: str, row: Row, if_version: int | None) -> None:
        if if_version is not None and if_version != row["version"]:
            raise PreconditionFailed(kind, if_version, row["version"])

    def check_free(self, kind: str, row: Row, *fields: str, within: tuple[str, ...] = ()) -> None:
        """Names stay taken until the purge."""
        scope = {name: row[name] for name in within}
        for field in fields:
            for other in self.all(kind, **scope):
                mine, theirs = row[field], other[field]
                if kind == "user":
                    mine, theirs = folded(mine), folded(theirs)
                if mine is not None and mine == theirs and other[f"{kind}_id"] != row[f"{kind}_id"]:
                    raise AlreadyExists(kind, field, row[field])

    def take_token(self, tenant: Row) -> None:
        """A bucket of one second."""
        rate, key = tenant["qps_quota"], (self.request.runtime, tenant["tenant_id"])
        if rate is None:
            return
        if rate == 0:
            raise RateLimited(0, 1.0)
        tokens, since = self.buckets.get(key, (rate, self.seconds))
        tokens = min(rate, tokens + (self.seconds - since) * rate)
        self.buckets[key] = (tokens, self.seconds)
        if tokens < 1 - 1e-6:
            raise RateLimited(rate, 1.0)
        self.buckets[key] = (max(tokens - 1, 0.0), self.seconds)

    # What is done.

    def once(self, arguments: Any, effect: Callable[[], Any], *place: str) -> Any:
        """An effect, or the answer of the first request with this key, operation and path."""
        request, self.owner = self.request, None
        if request.key is None:
            return effect()
        name = (request.operation, request.key, request.path, *place)
        oldest = self.now - ANSWERS_KEPT
        known = self.answers.get(name)
        if known is not None and known.at >= oldest:
            if known.arguments != arguments:
                raise IdempotencyMismatch
            return known.answer
        answer = effect()
        # Those of documents lie in another store, which forgets when it is written itself.
        self.answers = {
            each: kept for each, kept in self.answers.items() if kept.at >= oldest or each[3:] != place
        }
        self.answers[name] = Answer(arguments, answer, self.owner, self.now)
        return answer

    def record(
        self,
        action: str,
        tenant_id: str,
        resource: tuple[str, str],
        *,
        result: str = "allowed",
        reason: str | None = None,
        metadata: Row | None = None,
    ) -> None:
        self.owner = tenant_id
        entry = {"action": action, "resource_type": resource[0], "resource_id": resource[1]}
        told = {"result": result, "reason": reason, "metadata": metadata or {}, "created_at": self.now}
        self.audit.setdefault(tenant_id, []).append({**entry, **told})

    def note(self, tenant_id: str, changes: int = 1) -> None:
        """Count what the tenant's feed tells."""
        self.sequences[tenant_id] = self.sequences.get(tenant_id, 0) + changes

    def add(self, kind: str, row: Row, **told: Any) -> Row:
        """Store a new row under the ID that the program gave it."""
        times = {"version": 1, "created_at": self.now, "updated_at": self.now}
        if kind != "user":
            times["deleted_at"] = None
        row |= times
        self.rows[kind][row[f"{kind}_id"]] = row
        self.note(row["tenant_id"])
        self.record(f"{kind}.create", row["tenant_id"], (kind, row[f"{kind}_id"]), **told)
        return visible(row)

    def change(self, kind: str, row: Row, values: Row) -> None:
        """Make the next version of a row."""
        later = max(self.now, row["updated_at"])
        row |= {**values, "version": row["version"] + 1, "updated_at": later}
        self.note(row["tenant_id"])

    def act(self, kind: str, verb: str, row: Row, values: Row, **told: Any) -> Row:
        """Change a row and record it."""
        self.change(kind, row, values)
        self.record(f"{kind}.{verb}", row["tenant_id"], (kind, row[f"{kind}_id"]), **told)
        return visible(row)

    # How things go and come back.

    def delete(self, kind: str, row: Row) -> None:
        later = max(self.now, row["updated_at"])  # the clock may have stepped back
        gone = {"_before": row[STATES[kind]], STATES[kind]: DELETED[kind], "deleted_at": later}
        self.act(kind, "delete", row, gone)

    def restore(self, kind: str, row: Row) -> Row:
        return self.act(kind, "restore", row, {STATES[kind]: row["_before"], "deleted_at": None})

    def purge(self, kind: str, row: Row, reason: str | None = None) -> None:
        """Remove a row and all below it for good; the audit stays."""
        identity, tenant_id = row[f"{kind}_id"], row["tenant_id"]
        self.record(f"{kind}.purge", tenant_id, (kind, identity), reason=reason)
        for below in BELOW[kind]:
            for child in list(self.all(below, **{f"{kind}_id": identity})):
                self.drop(below, child)
        self.drop(kind, row)

    def drop(self, kind: str, row: Row) -> None:
        identity = row[f"{kind}_id"]
        del self.rows[kind][identity]
        self.documents.pop(identity, None)
        if kind == "tenant":
            del self.sequences[identity]
        else:
            self.note(row["tenant_id"])
        self.forget_answers(identity)

    def forget_answers(self, identity: str) -> None:
        """Forget what tells of a thing that is gone."""
        self.answers = {
            place: known
            for place, known in self.answers.items()
            if known.owner != identity
            and not (isinstance(known.answer, dict) and identity in known.answer.values())
        }

    def sweep(self) -> dict[str, int]:
        """Purge what was deleted long enough ago, where what is above takes changes."""
        before, purged = self.now - RETENTION, {}
        for kind in ("tenant", "database", "collection"):
            expired = [row for row in self.all(kind, deleted=True) if row["deleted_at"] <= before]
            found = [row for row in expired if self._may_be_swept(kind, row)]
            for row in found:
                self.purge(kind, row, reason="retention_passed")
            purged[kind] = len(found)
        return purged

    def _may_be_swept(self, kind: str, row: Row) -> bool:
        above = [self.rows["tenant"][row["tenant_id"]]] if kind != "tenant" else []
        states = [("tenant", each["status"]) for each in above]
        if kind == "collection":
            states.append(("database", self.rows["database"][row["database_id"]]["state"]))
        return all("metadata_write" in PERMITTED.get(state, ()) for state in states)

    def end(self, runtimes: set[int]) -> None:
        """Processes end, and with them the tokens that they counted."""
        self.buckets = {key: bucket for key, bucket in self.buckets.items() if key[0] not in runtimes}
