"""Filtered and sorted lists of tenants for operators, without full scans of a million tenants.

Each sort order has an index that ends with the ID; a cursor holds the position of the last tenant in it.
Damaged rows are left out, counted and logged. Read-only.
"""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from akidb.domain import cursors
from akidb.domain.documents import Page
from akidb.domain.entities import Tenant
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import fold, fold_name
from akidb.metadata import versioned_rows as rows
from akidb.metadata.names import CANDIDATES, contains, wanted
from akidb.metadata.tables import tenants
from akidb.sql.prepared import Prepared, Readable
from akidb.sql.types import format_instant

STRETCH_ROWS = 2_000
"""Rows that a list scans in order, which finds common names, before it queries the index for rare ones."""

_COLUMNS = {"name": tenants.c.name_folded}


class TenantFilter(NamedTuple):
    """The filter of a list of tenants."""

    status: TenantStatus | None = None
    external_id: str | None = None
    name_contains: str | None = None
    deleted: bool = False
    name: str | None = None


class _Shape(NamedTuple):
    """The cache key of a statement: everything but its parameters."""

    given: frozenset[str]
    """The fields of the filter that are not None."""
    is_active: bool
    deleted: bool


def page(
    connection: sa.Connection,
    which: TenantFilter,
    sort: TenantSort,
    *,
    limit: int,
    cursor: str | None,
    most_bytes: int | None,
) -> Page[Tenant]:
    """Return up to `limit` tenants. Raises InvalidArgument(`cursor`) for a cursor of another list."""
    binding = ("tenants", sort, *which)
    parameters = _parameters(which) | {"most_bytes": most_bytes}
    if cursor is not None:
        parameters |= _position(cursor, sort, binding)
    shape, later = _shape(which), cursor is not None

    def read(number: int) -> Readable:
        parameters["rows"] = number
        if (
            which.name_contains is None
            or which.deleted
            or which.external_id is not None
            or which.name is not None
        ):
            return _list(sort, shape, later=later).readable(connection, **parameters)
        return _by_name(connection, sort, shape, parameters, later=later)

    return rows.readable_page(read, limit, lambda tenant: cursors.encode(_place(tenant, sort), *binding))


def count(connection: sa.Connection, which: TenantFilter) -> int:
    """Return the number of matching tenants."""
    shape, parameters, statement = _shape(which), _parameters(which), _count(_shape(which))
    if which.name_contains is not None:
        asked = wanted(connection, parameters["needle"])
        if asked is not None:
            parameters["wanted"] = asked
            statement = _count(shape, among=connection.dialect.name)
    found: int = statement.first(connection, **parameters)[0]
    return found


def _by_name(
    connection: sa.Connection, sort: TenantSort, shape: _Shape, parameters: dict[str, Any], *, later: bool
) -> Readable:
    """Return tenants whose name contains a substring.

    A common substring fills a page within the stretch. A rare one is looked up in the index, and its few
    matches are sorted. For anything in between, the scan continues until the page is full.
    """
    order = _order(sort)
    ends = _stretch(sort, later=later).readable(connection, **parameters)
    if ends and ends[0] is not None:
        until = {f"until_{column.name}": value for column, value in zip(order, ends[0], strict=True)}
        found = _list(sort, shape, later=later, until=True).readable(connection, **parameters, **until)
        if len(found) == parameters["rows"] or found.cut:
            return found
        asked = wanted(connection, parameters["needle"])
        if asked is not None:
            few = _list(sort, shape, later=later, among=connection.dialect.name)
            return few.readable(connection, **parameters, wanted=asked)
    return _list(sort, shape, later=later).readable(connection, **parameters)


def _shape(which: TenantFilter) -> _Shape:
    given = frozenset(name for name, value in which._asdict().items() if value is not None)
    return _Shape(given - {"deleted"}, which.status == TenantStatus.ACTIVE, which.deleted)


def _parameters(which: TenantFilter) -> dict[str, Any]:
    needle = None if which.name_contains is None else fold(which.name_contains)
    folded = None if which.name is None else fold_name(which.name)
    return {
        "status": which.status,
        "external_id": which.external_id,
        "needle": needle,
        "name": which.name,
        "folded": folded,
    }


def _order(sort: TenantSort) -> tuple[sa.Column[Any], ...]:
    """Return the sort columns; slugs are unique and need no tie-breaker."""
    column = _COLUMNS.get(sort.field, tenants.c[sort.field])
    return (column,) if sort.field == "slug" else (column, tenants.c.tenant_id)


def _conditions(shape: _Shape) -> list[sa.ColumnElement[bool]]:
    found = [rows.live(tenants, deleted=shape.deleted)]
    if "status" in shape.given:
        found.append(tenants.c.status == sa.bindparam("status", type_=tenants.c.status.type))
        if not shape.is_active:  # lets the planner use the partial index of inactive tenants
            found.append(tenants.c.status != sa.literal_column("'active'"))
    if "external_id" in shape.given:
        found.append(tenants.c.external_id == sa.bindparam("external_id"))
    if "name" in shape.given:  # the index has the folded names
        found.append(tenants.c.name_folded == sa.bindparam("folded", type_=sa.Text))
        found.append(tenants.c.name == sa.bindparam("name", type_=sa.Text))
    if "name_contains" in shape.given:
        found.append(contains(tenants.c.name_folded, sa.bindparam("needle", type_=sa.Text)))
    return found


def _beside(sort: TenantSort, prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition that a tenant comes after a position (`after`), or at or before it (`until`)."""
    order = _order(sort)
    here = sa.tuple_(*order)
    there = sa.tuple_(*(sa.bindparam(f"{prefix}_{column.name}", type_=column.type) for column in order))
    if prefix == "after":
        return here < there if sort.is_descending else here > there
    return here >= there if sort.is_descending else here <= there


def _sorted(statement: sa.Select[Any], sort: TenantSort, *, later: bool) -> sa.Select[Any]:
    if later:
        statement = statement.where(_beside(sort, "after"))
    return statement.order_by(*(column.desc() if sort.is_descending else column for column in _order(sort)))


@cache
def _list(
    sort: TenantSort, shape: _Shape, *, later: bool, until: bool = False, among: str | None = None
) -> Prepared:
    """Return a page statement: unbounded, up to a position (`until`), or `among` a dialect's candidates."""
    statement = sa.select(*rows.columns(Tenant)).where(*_conditions(shape))
    if until:
        statement = statement.where(_beside(sort, "until"))
    if among is not None:
        statement = statement.where(CANDIDATES[among])
    return Prepared(_sorted(statement, sort, later=later).limit(sa.bindparam("rows")), Tenant)


@cache
def _stretch(sort: TenantSort, *, later: bool) -> Prepared:
    """Return the position `STRETCH_ROWS` rows further on; no row if the list ends before."""
    return Prepared(_sorted(sa.select(*_order(sort)), sort, later=later).offset(STRETCH_ROWS).limit(1))


@cache
def _count(shape: _Shape, *, among: str | None = None) -> Prepared:
    statement = sa.select(sa.func.count()).select_from(tenants)
    live = rows.live(tenants, deleted=False)
    if (
        among is None
        and not shape.deleted
        and (not shape.given or (shape.is_active and shape.given == {"status"}))
    ):
        # Count the few other rows instead and subtract: a partial index makes that fast.
        others = [rows.live(tenants, deleted=True)]
        total = statement.scalar_subquery() - statement.where(*others).scalar_subquery()
        if shape.given:
            rest = statement.where(live, tenants.c.status != sa.literal_column("'active'"))
            total = total - rest.scalar_subquery()
        return Prepared(sa.select(total))
    statement = statement.where(*_conditions(shape))
    return Prepared(statement if among is None else statement.where(CANDIDATES[among]))


def _number(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(tenants).where(*conditions).scalar_subquery()


def _place(tenant: Tenant, sort: TenantSort) -> list[str]:
    """Return the position of a tenant in the sort order."""
    value = fold_name(tenant.name) if sort.field == "name" else getattr(tenant, sort.field)
    text = format_instant(value) if isinstance(value, datetime) else value
    return [text] if sort.field == "slug" else [text, str(tenant.tenant_id)]


def _position(cursor: str, sort: TenantSort, binding: tuple[object, ...]) -> dict[str, Any]:
    if sort.field == "slug":
        return {"after_slug": cursors.decode(cursor, tuple[str], *binding)[0]}
    kind: Any = tuple[str, str] if sort.field == "name" else tuple[datetime, str]
    value, tenant_id = cursors.decode(cursor, kind, *binding)
    parsed = TenantId.parse(tenant_id, "cursor")
    return {f"after_{_order(sort)[0].name}": value, "after_tenant_id": parsed}
