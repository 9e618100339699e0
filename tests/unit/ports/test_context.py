"""What a caller may give with a request."""

import pytest

import akidb
from akidb.observe import context


def test_it_holds_inside_and_not_afterwards() -> None:
    with akidb.request(idempotency_key="k", request_id="r"):
        assert context.current().idempotency_key == "k"
        assert context.current().request_id == "r"
    assert context.current() == context.RequestContext()


@pytest.mark.parametrize("value", ["", "é", "a\n", " a", "a\x7f", "x" * 256])
@pytest.mark.parametrize("field", ["idempotency_key", "request_id"])
def test_what_a_header_cannot_carry_is_refused(field: str, value: str) -> None:
    with pytest.raises(akidb.InvalidArgument) as caught, akidb.request(**{field: value}):
        pass
    assert caught.value.field == field
