"""Validation of emails and passwords, and the key that makes two emails equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import UserId
from akidb.domain.names import check_email, check_password, email_key, parse_reference

SAME = [
    ("Bob@x", "bob@x"),
    ("BOB@EXAMPLE.ORG", "bob@example.org"),
    ("\u00dcn\u00ef@ex\u00e4mple.org", "\u00fcN\u00cf@EX\u00c4MPLE.ORG"),
    ("caf\u00e9@x", "cafe\u0301@x"),
    ("STRASSE@x", "stra\u00dfe@x"),
    ("\ufb01n@x", "FIN@x"),
    ("\u0130@x", "i\u0307@x"),
    ("\u03a3\u03a3@x", "\u03c3\u03c2@x"),
    ("a@\uff11.com", "A@1.com"),
]
WRONG = [
    *["", "@", "a@", "@x", "a", "a@b@c", "a b@x", " a@x", "a@x ", "a\t@x", "a\n@x", "a@x\n", "a\u00a0b@x"],
    *["a\\b@x", "<a@x>", '"a"@x', "a,b@x", "a;b@x", "a:b@x", "(a)@x", "a@[1.2.3.4]"],
    *["a@.x", "a@x.", "a@x..y", "a@x/y", "a@x?y", "a\0@x", "a\x7f@x", "a\ud800@x", "a\u200d@x"],
    *["a\uff20b@x", "a@x\u3002y\uff0f", "l" * 65 + "@x", "a@" + "x" * 253],
    *["\u00e9" * 64 + "@" + "x" * 126],
    *[None, 5, b"a@x", ["a@x"]],
]  # fmt: skip


@pytest.mark.parametrize(
    "email",
    [
        "a@x",
        "a/b@x",
        "/../@x",
        "\u2100@x",
        "Bob+tag@Example.org",
        "o'b.r%1!#$&*=?^_`{|}~-@x-1.y",
        "日本@例え.テスト",
    ],
)
def test_email_is_kept_unchanged(email: str) -> None:
    assert check_email(email) == email


@pytest.mark.parametrize("email", WRONG)
def test_invalid_email_is_refused(email: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_email(email)
    assert caught.value.field == "email"


def test_email_of_254_bytes_is_accepted() -> None:
    longest = "a@" + "x" * 252
    assert check_email(longest) == longest


@pytest.mark.parametrize(("one", "other"), SAME)
def test_email_key_ignores_case_and_unicode_composition(one: str, other: str) -> None:
    assert email_key(one) == email_key(other)


def test_email_key_distinguishes_different_characters() -> None:
    assert len({email_key(email) for email in ("bob@x", "b\u00f6b@x", "bob@y", "b.ob@x", "\u0431ob@x")}) == 5


@given(st.text())
def test_email_key_is_idempotent_and_has_no_ascii_capitals(text: str) -> None:
    key = email_key(text)
    assert email_key(key) == key
    assert not set(key) & set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_user_reference_can_be_email_or_id() -> None:
    text = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
    assert parse_reference(UserId, text) == UserId.parse(text)
    assert parse_reference(UserId, "Bob@x") == "Bob@x"
    for wrong in ("bob", "a b@x", "..", text.upper(), None):
        with pytest.raises(InvalidArgument, match="user: is neither an email nor an ID"):
            parse_reference(UserId, wrong)


@pytest.mark.parametrize(
    "password", ["12345678", "p" * 1024, "\u00e9" * 4, "with spaces in it", "\u65e5\u672c\u8a9e"]
)
def test_password_of_8_to_1024_bytes_is_accepted(password: str) -> None:
    assert check_password(password) == password


@pytest.mark.parametrize(
    "password", ["", "1234567", "p" * 1025, "\u00e9" * 513, "nul\0nulnul", "\ud800" * 8, None, 5, b"x" * 8]
)
def test_invalid_password_is_refused_and_not_echoed(password: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_password(password)
    assert caught.value.field == "password"
    assert not password or str(password) not in caught.value.message
