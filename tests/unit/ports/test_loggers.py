"""Records of AkiDB's loggers say what they belong to, whoever handles them."""

import ast
import logging
from pathlib import Path

import pytest

import akidb
from akidb.domain.ids import TenantId
from akidb.observe.context import WorkSubject, note_tenant, request
from akidb.observe.logs import logger

SOURCES = Path(akidb.__file__).parent
TENANT = TenantId.parse("018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f")


def test_a_record_has_the_request_and_the_tenant_at_hand(caplog: pytest.LogCaptureFixture) -> None:
    log = logger("akidb.tests")
    with request(request_id="r-1"), WorkSubject():
        log.warning("before")
        note_tenant(TENANT)
        log.warning("after")
    log.warning("outside")
    found = [(vars(record)["request_id"], vars(record)["tenant_id"]) for record in caplog.records]
    assert found == [("r-1", None), ("r-1", str(TENANT)), (None, None)]


def test_work_within_work_tells_the_outer_one_its_tenant_and_hears_nothing_of_it() -> None:
    with WorkSubject() as outer:
        with WorkSubject() as inner:
            note_tenant(TENANT)
        assert (inner.tenant_id, outer.tenant_id) == (TENANT, TENANT)
        with WorkSubject() as next_one:
            assert next_one.tenant_id is None
        assert outer.tenant_id == TENANT


def test_nothing_is_printed_where_the_application_asked_for_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("akidb"), "propagate", False)
    logger("akidb.tests").error("unheard")
    assert capfd.readouterr() == ("", "")


def test_every_logger_of_the_package_gets_the_filter() -> None:
    made = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    assert made == {"observe/logs.py", "api/logs.py"}
