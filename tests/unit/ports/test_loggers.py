"""Log records carry the current request and tenant."""

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


def test_log_record_has_current_request_and_tenant(caplog: pytest.LogCaptureFixture) -> None:
    log = logger("akidb.tests")
    with request(request_id="r-1"), WorkSubject():
        log.warning("before")
        note_tenant(TENANT)
        log.warning("after")
    log.warning("outside")
    found = [(vars(record)["request_id"], vars(record)["tenant_id"]) for record in caplog.records]
    assert found == [("r-1", None), ("r-1", str(TENANT)), (None, None)]


def test_nested_work_passes_tenant_to_outer_but_not_to_sibling() -> None:
    with WorkSubject() as outer:
        with WorkSubject() as inner:
            note_tenant(TENANT)
        assert (inner.tenant_id, outer.tenant_id) == (TENANT, TENANT)
        with WorkSubject() as next_one:
            assert next_one.tenant_id is None
        assert outer.tenant_id == TENANT


def test_nothing_is_printed_without_logging_configuration(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("akidb"), "propagate", False)
    logger("akidb.tests").error("unheard")
    assert capfd.readouterr() == ("", "")


def test_loggers_are_created_only_where_filter_is_added() -> None:
    made = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    # The last one sets the level of FAISS's own logger.
    assert made == {"observe/logs.py", "api/logs.py", "search/segments/graph.py"}
