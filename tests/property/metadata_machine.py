"""Base of the state machine: compared calls, and a full comparison of state."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, NamedTuple

from hypothesis import stateful
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple
from metadata_contents import Model
from metadata_deployments import Clock, Deployment, Outcome, Place, outcome
from metadata_model import NICKNAMES, Request, Row, visible

from akidb.operations.upkeep import CheckStores

Target = Any
"""An ID for a bundle, or nothing."""


class How(NamedTuple):
    """The circumstances of a call."""

    connection: int
    by_name: bool
    """Whether things are called by their names rather than their IDs."""
    key: str | None
    version: int | None
    """How far the version that the caller read is from the true one; None for a caller who names none."""


PLAIN = (
    How(0, by_name=False, key=None, version=None),
    How(1, by_name=False, key=None, version=None),
)
"""A call by IDs on each of the connections."""


STEPS = ("steps", "")
"""Where a tally has the number of steps."""


def rule(**given: Any) -> Callable[[Callable[..., Any]], Any]:
    """Hypothesis's decorator, for a rule whose steps are counted."""

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def counted(machine: "Machine", **drawn: Any) -> Any:
            machine.tally[STEPS] += 1
            return function(machine, **drawn)

        marked: Callable[[Any], Any] = stateful.rule(**given)
        return marked(counted)

    return decorate


class Machine(RuleBasedStateMachine):
    """A deployment, its model, and what is remembered between the steps."""

    tenants = Bundle("tenants")
    databases = Bundle("databases")
    collections = Bundle("collections")
    users = Bundle("users")

    def __init__(self, place: Place, clock: Clock, tally: Counter[tuple[str, str]]) -> None:
        super().__init__()
        clock.reset()
        self.clock = clock
        self.tally = tally
        self.model = Model(clock.now)
        self._stack = ExitStack()
        self.real: Deployment = self._stack.enter_context(place.fresh())
        self.homes: dict[str, tuple[str, ...]] = {}
        """The IDs on the path to each thing, its own last; of purged ones too."""
        self.keyed: list[tuple[How, str, Row]] = []
        self.readers: dict[str, tuple[int, str | None, dict[str, Row]]] = {}
        """Of each feed: where its reader is, and what it knows by now."""
        self.is_sound = True
        """Whether no comparison has failed: after one, the next would hide it."""

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.compare_everything(0)
                assert [
                    finding for finding in self.real[0].perform(CheckStores()).items if not finding.ok
                ] == []
        finally:
            self._stack.close()

    # Calls.

    def do(self, how: How, operation: str, **fields: Any) -> Target:
        """Make a call and compare; gives the ID of what it made."""
        got = self.real.call(how.connection, operation, fields, how.key)
        self.agree(got, self.expect(how, operation, fields, got), operation)
        if how.key is not None:
            self.keyed.append((how, operation, fields))
        self.tally[operation, got[0]] += 1
        return got[1]

    def agree(self, got: Any, want: Any, about: object) -> None:
        """Fail unless the program says what the model says."""
        self.is_sound = got == want
        assert got == want, f"{about}: {got}, not {want}"

    def expect(self, how: How, operation: str, fields: Row, got: Outcome) -> Outcome:
        """What the model says to a call; the ID of a new thing is the one that it was given."""
        kind = operation.partition(".")[0]
        given = got[1].get(f"{kind}_id", "") if got[0] == "ok" and isinstance(got[1], dict) else ""
        named = tuple(fields[each] for each in NICKNAMES if each in fields)
        runtime = self.real.runtimes[how.connection]
        request = Request(operation, named, how.key, runtime, given)
        return outcome(lambda: self.model.call(request, fields))

    def made(self, kind: str, answer: Any) -> Target:
        """Remember what a call made, if it did."""
        identity = answer.get(f"{kind}_id")
        if identity is None or identity in self.homes:  # refused, or the answer to a key used before
            return multiple()
        self.agree([other for other in self.homes if other >= identity], [], "IDs that rise")
        self.remember(kind, answer)
        return identity

    def remember(self, kind: str, row: Row) -> None:
        """Where a thing is found."""
        above = [row[f"{each}_id"] for each in ("tenant", "database") if each != kind and f"{each}_id" in row]
        self.homes[row[f"{kind}_id"]] = (*above, row[f"{kind}_id"])

    def path(self, how: How, *identities: str) -> dict[str, str]:
        """How a caller names what is on the way to a thing."""
        kinds = ["tenant", "database", "collection"]
        return {
            kind: self.name(how, kind, identity) for kind, identity in zip(kinds, identities, strict=False)
        }

    def name(self, how: How, kind: str, identity: str) -> str:
        row = self.model.rows[kind].get(identity)
        return identity if row is None or not how.by_name else str(row[NICKNAMES[kind]])

    def if_version(self, how: How, kind: str, identity: str) -> Row:
        if how.version is None:
            return {}
        row = self.model.rows[kind].get(identity, {"version": 1})
        return {"if_version": row["version"] + how.version}

    # Reading back.

    def compare(self, connection: int, operation: str, *, limit: int = 3, **fields: Any) -> None:
        """Compare a list, page after page, and its count."""
        got = self.real.pages(connection, operation, fields, limit)
        self.agree(got, self.expect(PLAIN[connection], operation, fields, got), operation)
        self.tally[operation, got[0]] += 1
        fields.pop("sort", None)
        self.do(PLAIN[connection], operation.replace(".list", ".count"), **fields)

    def compare_everything(self, connection: int) -> None:
        """Compare all that can be read with all that the model holds."""
        for deleted in (False, True):
            self.compare(connection, "tenant.list", deleted=deleted)
        for tenant_id in {home[0] for home in self.homes.values()}:
            self._compare_audit(connection, tenant_id)
        for tenant in list(self.model.all("tenant", deleted=False)):
            tenant_id = tenant["tenant_id"]
            self.do(PLAIN[connection], "tenant.usage", tenant=tenant_id)
            self.compare(connection, "user.list", tenant=tenant_id)
            self.follow(connection, tenant_id, limit=4)
            for deleted in (False, True):
                self.compare(connection, "database.list", tenant=tenant_id, deleted=deleted)
            for database in list(self.model.all("database", deleted=False, tenant_id=tenant_id)):
                for deleted in (False, True):
                    path = {"tenant": tenant_id, "database": database["database_id"]}
                    self.compare(connection, "collection.list", **path, deleted=deleted)

    def _compare_audit(self, connection: int, tenant_id: str) -> None:
        code, found = self.real.pages(connection, "audit.list", {"tenant": tenant_id}, 7)
        self.agree(code, "ok", found)
        told = ("action", "resource_type", "resource_id", "result", "reason", "metadata", "created_at")
        self.agree({entry["tenant_id"] for entry in found}, {tenant_id}, "the audit's tenant")
        in_order = sorted(found, key=lambda entry: str(entry["audit_entry_id"]))
        self.agree(found, in_order, "the order of the audit")
        # What one sweep purges has no order, so entries are compared without one.
        got = sorted(repr({name: entry[name] for name in told}) for entry in found)
        want = self.model.audit[tenant_id]
        self.agree(got, sorted(repr({name: entry[name] for name in told}) for entry in want), "the audit")

    def follow(self, connection: int, tenant_id: str, limit: int) -> None:
        """Read on in the feed of a tenant; who applies it knows all that there is."""
        since, token, known = self.readers.get(tenant_id, (0, None, {}))
        more = True
        while more:
            fields = {"tenant": tenant_id, "since": since, "feed": token, "limit": limit}
            code, page = self.real.call(connection, "tenant.changes", fields, None)
            self.agree(code, "ok", page)
            self.tally["tenant.changes", code] += 1
            for change in page["changes"]:
                known.pop(change["id"], None)
                if change["type"] == "upsert":
                    known[change["id"]] = change[change["entity"]]
            since, token, more = page["next_since"], page["feed"], page["more"]
        self.readers[tenant_id] = (since, token, known)
        want = {
            row[f"{kind}_id"]: visible(row)
            for kind in NICKNAMES
            for row in self.model.all(kind, tenant_id=tenant_id)
        }
        self.agree(known, want, "what a reader of the feed knows")
        self.agree(since, self.model.sequences[tenant_id], "the sequence of the feed")
