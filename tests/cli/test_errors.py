"""Exit statuses and one-line error messages."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

import akidb.domain
from akidb.cli.errors import EXIT_STATUS, as_domain_error, exit_status, one_line, problem
from akidb.deployment.owner import DirectoryHeld
from akidb.domain import errors
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument, NotFound, Unavailable

from .conftest import Run


def _subclasses(kind: type[AkiDBError]) -> Iterator[type[AkiDBError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_every_domain_error_class_has_exit_status() -> None:
    of_the_domain = {kind for kind in _subclasses(AkiDBError) if kind.__module__ == errors.__name__}
    assert set(EXIT_STATUS) == of_the_domain


@pytest.mark.parametrize(
    ("status", "codes"),
    [
        (1, {"unavailable", "storage_full", "damaged", "overloaded", "timeout", "internal"}),
        (2, {"invalid_argument"}),
        (3, {"not_found"}),
        (4, {"already_exists", "invalid_state", "precondition_failed", "idempotency_mismatch"}),
        (5, {"permission_denied", "unauthenticated", "quota_exceeded", "rate_limited"}),
    ],
)
def test_exit_statuses_match_documentation(status: int, codes: set[str]) -> None:
    assert {kind.code for kind, its in EXIT_STATUS.items() if its == status} == codes


def test_error_of_another_layer_has_exit_status_of_its_base() -> None:
    held = DirectoryHeld.__new__(DirectoryHeld)
    assert exit_status(held) == EXIT_STATUS[Unavailable]
    assert exit_status(AkiDBError("?")) == 1


def test_error_is_one_line_regardless_of_content() -> None:
    line = one_line(NotFound("tenant", "a\nb\x1b[31m\u202e"))
    assert line == r"error: not_found: tenant 'a\nb\x1b[31m\u202e' does not exist"
    line = one_line(Unavailable("a\nb\x1b[31m\u202e\x85"))
    assert line == r"error: unavailable: a\nb\x1b[31m\u202e\x85"


def test_notes_are_appended_to_message() -> None:
    error = NotFound("document", "a")
    error.add_note("2 more missing")
    assert one_line(error) == "error: not_found: document 'a' does not exist; 2 more missing"


def test_problem_has_fields_of_error() -> None:
    assert problem(InvalidArgument("name", "is wrong")) == {
        "type": "urn:akidb:error:invalid_argument",
        "title": "Invalid argument",
        "detail": "name: is wrong",
        "code": "invalid_argument",
        "field": "name",
        "reason": "is wrong",
    }


def test_problem_with_lone_surrogates_can_be_encoded() -> None:
    fields = problem(NotFound("tenant", "a\udcff"))
    assert fields["id"] == r"a\udcff"
    assert "\udcff" not in fields["detail"]


def test_full_disk_and_missing_file_are_unavailable() -> None:
    full = as_domain_error(OSError(errno.ENOSPC, "No space left on device"))
    assert (type(full), full.message) == (Unavailable, "no space is left on the device")
    missing = as_domain_error(PermissionError(errno.EACCES, "Permission denied", "/x"))
    assert (type(missing), missing.message) == (Unavailable, "Permission denied: /x")
    assert type(as_domain_error(MemoryError())) is Unavailable


def test_defect_is_internal_error_with_location() -> None:
    try:
        EXIT_STATUS[1]  # type: ignore[index]
    except KeyError as error:
        defect = as_domain_error(error)
    assert type(defect) is Internal
    assert defect.message == "KeyError: 1"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (Path(akidb.domain.__file__).with_name("some.py"), "ZeroDivisionError: division by zero (some.py:3)"),
        (Path("/clones/akidb/tests/some.py"), "ZeroDivisionError: division by zero"),
        (Path("/clones/akidb/src/some.py"), "ZeroDivisionError: division by zero"),
    ],
)
def test_defect_location_is_reported_only_inside_package(file: Path, said: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("\n\n1 / 0", file, "exec"))
    assert as_domain_error(caught.value).message == said


@pytest.mark.parametrize(
    ("arguments", "field", "reason"),
    [
        (
            ["tenant", "list", "--status", "foo"],
            "status",
            "must be one of provisioning, active, suspended, decommissioned",
        ),
        (["tenant", "list", "--limit", "x"], "limit", "must be a whole number, not str"),
        (["search", "a/b/c", "x", "--top-k", "1.5"], "top_k", "must be a whole number, not str"),
        (["search", "a/b/c", "x", "--score-threshold", "?"], "score_threshold", "must be a finite number"),
        (["changes", "a/b/c", "--limit", "x"], "limit", "must be a whole number, not str"),
        (
            ["tenant", "list", "--limit", "99999999999999999999"],
            "limit",
            "must be a whole number from 1 to 1000",
        ),
        (["serve", "--port", "65536"], "port", "must be less than or equal to 65535"),
        (["tenant", "get"], "tenant", "is missing; usage: akidb tenant get T"),
        (["database", "create", "a/k"], "name", "is missing; usage: akidb database create T NAME"),
        (["tenant", "create", "a", "--qps", "many"], "qps", "must be a whole number, not str"),
        (
            ["tenant", "update", "a", "--storage-quota", "x"],
            "storage_quota",
            "must be a size such as 32GiB, 10GB or a number of bytes",
        ),
        (["changes", "a", "--vectors"], "vectors", "is for the documents of a collection: give T/D/C"),
        (["doctor", "--states", "--repair"], "states", "only prints a table: give it alone"),
        (
            ["tenant", "list", "--qqq"],
            "arguments",
            "unknown option --qqq; `akidb tenant list -h` lists the options",
        ),
        (["tenant", "get", "a", "b"], "arguments", "Got unexpected extra argument(s) (b)"),
    ],
)
def test_usage_error_names_option(akidb: Run, arguments: list[str], field: str, reason: str) -> None:
    result = akidb(*arguments, "--json")
    assert (result.status, result.problem["field"], result.problem["reason"]) == (2, field, reason)
