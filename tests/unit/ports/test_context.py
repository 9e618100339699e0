"""Request context: idempotency key and request ID set by the caller."""

import pytest

import akidb
from akidb.observe import context


def test_request_context_applies_only_inside_block() -> None:
    with akidb.request(idempotency_key="k", request_id="r"):
        assert context.current().idempotency_key == "k"
        assert context.current().request_id == "r"
    assert context.current() == context.RequestContext()


@pytest.mark.parametrize("value", ["", "é", "a\n", " a", "a\x7f", "x" * 256])
@pytest.mark.parametrize("field", ["idempotency_key", "request_id"])
def test_value_not_allowed_in_header_is_refused(field: str, value: str) -> None:
    with pytest.raises(akidb.InvalidArgument) as caught, akidb.request(**{field: value}):
        pass
    assert caught.value.field == field
