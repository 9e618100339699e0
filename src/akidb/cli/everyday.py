"""Commands generated from the table of operations: create, get, list, count, update, delete, transitions.

A command takes the path of its operation as `T`, `T/D` or `T/D/C`, required fields as arguments, and other
fields as options.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

import typer
from msgspec import UNSET
from msgspec.structs import replace

from akidb.cli.arguments import Yes, naming_options, parse_places, parse_size
from akidb.cli.session import Session, command, confirm
from akidb.domain.entities import AuditEntry, Collection, Database, Tenant, User
from akidb.domain.errors import InvalidArgument, PreconditionFailed
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.names import MAX_INTEGER
from akidb.operations import OPERATIONS, Operation
from akidb.operations.text import Parser, kinds, parsers

COLUMNS: dict[Any, tuple[str, ...]] = {
    Tenant: ("slug", "name", "status", "tenant_id"),
    Database: ("name", "state", "description", "database_id"),
    Collection: ("name", "state", "dimension", "metric", "embedding_model", "collection_id"),
    User: ("email", "role", "status", "last_login_at", "user_id"),
    AuditEntry: (
        "created_at",
        "action",
        "resource_type",
        "resource_id",
        "result",
        "reason",
        "request_id",
    ),
}
"""The columns of a list, by entity."""

_PROVISIONING = {"status": TenantStatus.PROVISIONING, "state": DatabaseState.PROVISIONING}
_QUOTAS = {"memory_quota_bytes": "memory-quota", "storage_quota_bytes": "storage-quota", "qps_quota": "qps"}
_NAMES = {field: option.replace("-", "_") for field, option in _QUOTAS.items()}
_PLACES = {"tenant": "T", "database": "D", "collection": "C"}
_METAVARS = {int: "N", dict: "JSON"}


class _Option(NamedTuple):
    field: str
    parameter: inspect.Parameter
    read: Callable[[Any], Any]
    """Converts the option to the field's value; UNSET if it was not given."""


def add(app: typer.Typer, feature: str, *verbs: str) -> None:
    """Add a command for each of these verbs of a feature."""
    rows = {row.verb: row for row in OPERATIONS.values() if row.feature == feature}
    for verb in verbs:
        _add(app, rows[verb])


def _add(app: typer.Typer, row: Operation) -> None:
    options = list(_options(row))
    places = [place for place in row.places if place in _PLACES]

    def run(session: Session, /, **given: Any) -> None:
        with naming_options(_NAMES):
            carry_out(session, given)

    def carry_out(session: Session, given: dict[str, Any], row: Operation = row) -> None:
        fields = _placed(given, places)
        shown = given.get("user", "/".join(fields.values()))
        fields |= {"user": given["user"]} if "user" in row.places else {}
        for option in options:
            value = option.read(given[option.parameter.name])
            if value is not UNSET:
                if option.field in fields:
                    raise InvalidArgument(option.field, "must not be given twice")
                fields[option.field] = value
        if row.verb == "update" and not fields.keys() - {*row.places, "if_version"}:
            raise InvalidArgument("arguments", "give at least one field to change")
        request = row.checked(row.request(**fields))  # before a store is opened or created
        purge = _purge_of(row)
        if purge is not None and (row is purge or given["purge"]):
            _require(session, request)
            question = f"Permanently remove {row.feature} {shown} and all its documents?"
            confirm(session, question, yes=given["yes"])
            if row is not purge:
                session.operations.perform(request)
                fields.pop("if_version", None)
                row, request = purge, purge.checked(purge.request(**fields))
        _print(session, row, shown, session.operations.perform(request))

    run.__doc__ = (row.request.__doc__ or "").replace("`", "'")
    parameters = [*_place_parameters(row, places), *(option.parameter for option in options)]
    if (purge := _purge_of(row)) is not None:
        if row is not purge:
            parameters.append(_flag("purge", "purge", "Make it permanent at once; its name is free again."))
        parameters.append(_parameter("yes", Yes, default=False))
    first = inspect.Parameter("session", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    command(app, row.verb, makes_store=row.verb == "create" and row.feature == "tenant")(run)


def _purge_of(row: Operation) -> Operation | None:
    """Return the row that purges what this row deletes, or this row if it purges."""
    if row.verb not in {"delete", "purge"}:
        return None
    name = f"{row.feature}.purge"
    return next((each for each in OPERATIONS.values() if each.name == name), None)


def _require(session: Session, request: Any) -> None:
    """Raise the error that the request would raise now, before the user is asked to confirm it."""
    if request.if_version is None:
        with suppress(PreconditionFailed):  # it exists, in a state that permits the request
            session.operations.perform(replace(request, if_version=MAX_INTEGER))


def _placed(given: dict[str, Any], places: list[str]) -> dict[str, Any]:
    """Return the path fields given to a command."""
    if len(places) > 1:
        return parse_places(given["path"], places)
    return {place: given[place] for place in places}


def _print(session: Session, row: Operation, shown: str, answer: Any) -> None:
    out = session.out
    if answer is None:
        done = f"{row.verb}d"
        back = f"; `akidb {row.feature} restore` restores it" if _can_restore(row) else ""
        out.done({done: shown}, f"{done} {shown}{back}")
    elif row.verb == "list":
        (entity,) = row.answer.__args__
        out.page(answer, COLUMNS[entity])
    elif row.verb == "count":
        out.done({"count": answer}, str(answer))
    else:
        out.record(answer)


def _can_restore(row: Operation) -> bool:
    return row.verb == "delete" and any(each.name == f"{row.feature}.restore" for each in OPERATIONS.values())


def _place_parameters(row: Operation, places: list[str]) -> Iterator[inspect.Parameter]:
    if places:
        metavar = "/".join(_PLACES[place] for place in places)
        help = " ".join(row.fields[place].help for place in places)
        name = "path" if len(places) > 1 else places[0]
        yield _parameter(name, Annotated[str, typer.Argument(metavar=metavar, help=help)])
    if "user" in row.places:
        yield _parameter("user", Annotated[str, typer.Argument(metavar="USER", help=row.fields["user"].help)])


def _options(row: Operation) -> Iterator[_Option]:
    """Yield the arguments and options for the fields that are not in the path."""
    for field in row.declared:
        if field.name in row.places:
            continue
        parse, help = parsers(row.request)[field.name], row.fields[field.name].help
        if field.required:
            argument = Annotated[str, typer.Argument(metavar=field.name.upper(), help=help)]
            yield _Option(field.name, _parameter(field.name, argument), _reading(parse, field.name))
        elif field.name in _PROVISIONING and row.verb == "create":
            flag = _flag("provisioning", "provisioning", "Create it as provisioning, not yet in use.")
            yield _Option(field.name, flag, _choosing(_PROVISIONING[field.name]))
        elif field.default is False:
            yield _Option(field.name, _flag(field.name, _dashed(field.name), help), _choosing(True))
        else:
            shown = "" if field.default in {None, UNSET, ""} else f"  [default: {field.default}]"
            yield from _valued(row, field.name, parse, help + shown)


def _valued(row: Operation, name: str, parse: Parser, help: str) -> Iterator[_Option]:
    option = _QUOTAS.get(name, _dashed(name))
    metavar = _metavar(row, name)
    if name.endswith("_bytes"):
        parse, metavar, help = parse_size, "SIZE", f"{help} For example 32GiB, 10GB, or a number of bytes."
    if name in _QUOTAS:
        parse, metavar, help = (
            _or_unlimited(parse),
            f"{metavar}|unlimited",
            help.replace("null", "`unlimited`"),
        )
    completion = _completion(row.fields[name].words)
    annotation = Annotated[
        str | None, typer.Option(f"--{option}", metavar=metavar, help=help, autocompletion=completion)
    ]
    parameter = _parameter(option.replace("-", "_"), annotation, default=None)
    yield _Option(name, parameter, _reading(parse, name))
    if row.verb == "update" and name in row.nullable.difference(_QUOTAS, {"if_version"}):
        yield _Option(name, _flag(f"no_{name}", f"no-{option}", "Remove the value."), _choosing(None))


def _or_unlimited(parse: Parser) -> Parser:
    return lambda text, name: None if text == "unlimited" else parse(text, name)


def _reading(parse: Parser, name: str) -> Callable[[Any], Any]:
    return lambda given: UNSET if given is None else parse(given, name)


def _choosing(value: Any) -> Callable[[Any], Any]:
    return lambda given: value if given else UNSET


def _flag(name: str, option: str, help: str) -> inspect.Parameter:
    return _parameter(name, Annotated[bool, typer.Option(f"--{option}", help=help)], default=False)


def _metavar(row: Operation, name: str) -> str:
    words = row.fields[name].words
    return "|".join(words) if words else _METAVARS.get(kinds(row.request)[name], "TEXT")


def _completion(words: Sequence[str]) -> Callable[[str], list[str]] | None:
    """Return the shell completion for a value that is one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete if words else None


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
