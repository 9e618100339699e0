"""User routes: responses, and the secrets that responses and logs never contain."""

from urllib.parse import quote

import httpx
import pytest

from akidb.domain.ids import UserId

from .conftest import problem
from .running import Process

SECRET = "correct horse"


@pytest.fixture
def users(tenant: str) -> str:
    """The users path of a new tenant."""
    return f"{tenant}/users"


def create(http: httpx.Client, users: str, email: str = "Bob@x", **more: object) -> httpx.Response:
    return http.post(users, json={"email": email, "password": SECRET, **more})


def test_user_lifecycle(http: httpx.Client, users: str) -> None:
    made = create(http, users, role="developer")
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    bob = made.json()
    path = made.headers["location"]
    assert path.endswith(f"/users/{UserId.parse(bob['user_id'])}")
    assert list(bob) == [
        *("user_id", "tenant_id", "email", "role", "status", "last_login_at", "created_by"),
        *("version", "created_at", "updated_at"),
    ]
    assert (bob["email"], bob["role"], bob["status"]) == ("Bob@x", "developer", "active")
    assert http.get(path).json() == http.get(f"{users}/bob%40X").json() == bob
    assert http.get(users).json() == {"items": [bob], "next_cursor": None}
    assert http.get(users.removesuffix("s") + "-count").json() == {"count": 1}
    changed = http.patch(path, json={"role": "admin"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["role"]) == (200, '"2"', "admin")
    problem(
        http.patch(path, json={"role": "viewer"}, headers={"If-Match": '"1"'}), 412, "precondition_failed"
    )
    for verb, status in (("suspend", "suspended"), ("deactivate", "deactivated"), ("activate", "active")):
        moved = http.post(f"{path}/{verb}")
        assert (moved.status_code, moved.json()["status"]) == (200, status)
    problem(http.delete(path, headers={"If-Match": '"1"'}), 412, "precondition_failed")
    gone = http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    problem(http.get(path), 404, "not_found", entity="user")


def test_verify_password_returns_user_and_hides_failure_reason(http: httpx.Client, users: str) -> None:
    bob = create(http, users).json()
    verify = f"{users}/verify-password"
    known = http.post(verify, json={"email": "BOB@X", "password": SECRET})
    assert (known.status_code, known.headers["etag"]) == (200, '"2"')
    assert known.json()["user_id"] == bob["user_id"]
    assert known.json()["last_login_at"] == known.json()["updated_at"]
    told = [
        problem(http.post(verify, json={"email": email, "password": password}), 401, "unauthenticated")
        for email, password in (("bob@x", "wrong"), ("nobody@x", SECRET), ("bob@x", ""))
    ]
    http.post(f"{users}/bob%40x/suspend")
    told.append(
        problem(http.post(verify, json={"email": "bob@x", "password": SECRET}), 401, "unauthenticated")
    )
    assert len({problem["detail"] for problem in told}) == 1
    assert {frozenset(problem) for problem in told} == {frozenset(told[0])}


@pytest.mark.parametrize(
    "email", ["a+b%41?c#d&e=f@x", "a/b@x", "/../%2f@x", "\u00dcn\u00ef@ex\u00e4mple.org", "~!$*^{}|`'@x-y.z"]
)
def test_email_in_path_is_percent_encoded(http: httpx.Client, users: str, email: str) -> None:
    made = create(http, users, email).json()
    assert http.get(f"{users}/{quote(email, safe='')}").json() == made


def test_idempotency_key_replays_first_response(http: httpx.Client, users: str) -> None:
    def repeated(password: str) -> httpx.Response:
        body = {"email": "bob@x", "password": password}
        return http.post(users, json=body, headers={"Idempotency-Key": "k"})

    first = repeated(SECRET)
    assert (first.status_code, repeated(SECRET).json()) == (201, first.json())
    problem(repeated(SECRET + "!"), 422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": SECRET}, "email"),
        ({"email": "bob@x"}, "password"),
        ({"email": "bob", "password": SECRET}, "email"),
        ({"email": "bob@x", "password": "short"}, "password"),
        ({"email": "bob@x", "password": None}, "password"),
        ({"email": "bob@x", "password": SECRET, "role": "owner"}, "role"),
        ({"email": "bob@x", "password": SECRET, "status": "active"}, "status"),
        ({"email": "bob@x", "password": SECRET, "password_hash": "$argon2id$"}, "password_hash"),
    ],
)
def test_invalid_user_field_is_rejected_and_named(
    http: httpx.Client, users: str, body: dict[str, object], field: str
) -> None:
    problem(http.post(users, json=body), 400, "invalid_argument", field=field)
    assert http.get(users).json()["items"] == []


def test_responses_and_logs_contain_no_password_hash_or_email(
    server: Process, http: httpx.Client, users: str
) -> None:
    secret, email = "a very secret horse", "very.private@example.org"
    made = http.post(users, json={"email": email, "password": secret})
    path = made.headers["location"]
    answers = [
        made,
        http.post(users, json={"email": email, "password": secret}),
        http.patch(path, json={"password": secret, "unknown": secret}),
        http.patch(path, json={"password": secret * 100}),
        http.patch(path, json={"password": secret}),
        http.post(f"{users}/verify-password", json={"email": email, "password": secret + "!"}),
        http.post(f"{users}/verify-password", json={"email": email, "password": secret}),
        http.get(f"{users}/{quote(email)}"),
        http.get(users),
        http.get(users.removesuffix("users") + "audit"),
        http.get("/metrics"),
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 400, 400, 200, 401, *[200] * 5]
    shown = "".join(answer.text for answer in answers)
    assert not any(word in shown for word in (secret, "argon2"))
    assert email not in answers[-2].text + answers[-1].text
    log = server.log.read_text()
    assert "verify-password" in log
    assert not any(word in log for word in (secret, "argon2", email, quote(email)))
