"""`akidb tenant` and `akidb audit`."""

from pathlib import Path

import pytest

from .conftest import Run


def test_create_shows_tenant(akidb: Run) -> None:
    tenant = akidb("--json", "tenant", "create", "Aki Labs").json
    assert (tenant["slug"], tenant["status"], tenant["version"]) == ("aki-labs", "active", 1)
    assert tenant["created_at"].endswith("Z")
    assert tenant["deleted_at"] is None
    shown = akidb("tenant", "get", "aki-labs")
    assert shown.status == 0
    assert tenant["tenant_id"] in shown.out
    assert akidb("tenant", "get", tenant["tenant_id"], "--json").json == tenant


def test_create_takes_every_field(akidb: Run) -> None:
    tenant = akidb(
        "tenant", "create", "Bunka", "--slug", "b", "--external-id", "crm-7", "--memory-quota", "1GiB",
        "--storage-quota", "10GB", "--qps", "5", "--metadata", '{"plan": "pro"}', "--provisioning", "--json",
    ).json  # fmt: skip
    assert tenant["slug"] == "b"
    assert tenant["external_id"] == "crm-7"
    assert tenant["memory_quota_bytes"] == 2**30
    assert tenant["storage_quota_bytes"] == 10 * 10**9
    assert tenant["qps_quota"] == 5
    assert tenant["metadata"] == {"plan": "pro"}
    assert tenant["status"] == "provisioning"


def test_taken_slug_is_conflict(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki Labs").status == 0
    again = akidb("tenant", "create", "Other", "--slug", "aki-labs")
    assert (again.status, again.out) == (4, "")
    assert again.err == "error: already_exists: tenant with slug 'aki-labs' already exists\n"
    problem = akidb("tenant", "create", "Other", "--slug", "aki-labs", "--json").problem
    assert (problem["entity"], problem["field"], problem["value"]) == ("tenant", "slug", "aki-labs")


@pytest.mark.parametrize(
    "slug", ["", "../x", "x" * 300, "a\n", "A", "-a", "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"]
)
def test_invalid_slug_is_rejected_and_stores_nothing(akidb: Run, slug: str) -> None:
    assert akidb("tenant", "create", "Aki", f"--slug={slug}").status == 2
    assert akidb("tenant", "list").status == 3  # there is no store yet
    assert akidb("migrate", "schema").status == 0
    result = akidb("tenant", "create", "Aki", f"--slug={slug}")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert akidb("tenant", "list", "--json").json["items"] == []


@pytest.mark.parametrize("reference", ["nobody", "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"])
def test_unknown_tenant_is_not_found(akidb: Run, reference: str) -> None:
    assert akidb("migrate", "schema").status == 0
    result = akidb("tenant", "get", reference)
    assert (result.status, result.out) == (3, "")
    assert result.err == f"error: not_found: tenant '{reference}' does not exist\n"
    assert akidb("tenant", "usage", reference, "--json").problem["code"] == "not_found"


def test_list_pages_and_filters(akidb: Run) -> None:
    for name in ("a", "b", "c"):
        assert akidb("tenant", "create", name, "--external-id", f"x-{name}").status == 0
    assert akidb("tenant", "suspend", "b").status == 0
    first = akidb("tenant", "list", "--limit", "2", "--json").json
    assert [tenant["slug"] for tenant in first["items"]] == ["a", "b"]
    rest = akidb("tenant", "list", "--limit", "2", "--cursor", first["next_cursor"], "--json").json
    assert [tenant["slug"] for tenant in rest["items"]] == ["c"]
    assert rest["next_cursor"] is None
    suspended = akidb("tenant", "list", "--status", "suspended", "--json").json["items"]
    assert [tenant["slug"] for tenant in suspended] == ["b"]
    external = akidb("tenant", "list", "--external-id", "x-c", "--json").json["items"]
    assert [tenant["slug"] for tenant in external] == ["c"]
    assert akidb("tenant", "count").out == "3\n"
    assert akidb("tenant", "count", "--status", "suspended", "--json").json == {"count": 1}
    table = akidb("tenant", "list", "--limit", "2")
    assert table.out.split("\n")[0].split() == ["slug", "name", "status", "tenant_id"]
    assert table.err.startswith("there are more: --cursor ")
    assert akidb("tenant", "list", "--limit", "0").status == 2
    assert akidb("tenant", "list", "--cursor", "nonsense").status == 2


def test_update_changes_only_given_fields(akidb: Run) -> None:
    before = akidb("tenant", "create", "Aki", "--external-id", "x", "--json").json
    after = akidb(
        "tenant", "update", "aki", "--name", "Aki Labs", "--slug", "labs", "--no-external-id", "--qps", "9",
        "--memory-quota", "1GiB", "--storage-quota", "2GiB", "--metadata", "{}", "--json",
    ).json  # fmt: skip
    assert (after["name"], after["slug"], after["external_id"]) == ("Aki Labs", "labs", None)
    assert (after["qps_quota"], after["memory_quota_bytes"], after["storage_quota_bytes"]) == (
        9,
        2**30,
        2**31,
    )
    assert (after["version"], after["tenant_id"]) == (2, before["tenant_id"])


def test_invalid_update_is_rejected(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki").status == 0
    assert akidb("tenant", "update", "aki").status == 2
    assert akidb("tenant", "update", "aki", "--external-id", "a", "--no-external-id").status == 2
    assert akidb("tenant", "update", "aki", "--storage-quota", "lots").status == 2
    stale = akidb("tenant", "update", "aki", "--name", "B", "--if-version", "7", "--json")
    assert stale.status == 4
    assert (stale.problem["expected"], stale.problem["actual"]) == (7, 1)
    assert akidb("tenant", "get", "aki", "--json").json["name"] == "Aki"


def test_tenant_lifecycle(akidb: Run) -> None:
    tenant_id = akidb("tenant", "create", "Aki", "--provisioning", "--json").json["tenant_id"]
    assert akidb("tenant", "suspend", "aki").status == 4
    assert akidb("tenant", "activate", "aki", "--json").json["status"] == "active"
    suspended = akidb("tenant", "suspend", "aki", "--reason", "unpaid", "--if-version", "2", "--json").json
    assert (suspended["status"], suspended["version"]) == ("suspended", 3)
    assert akidb("database", "create", "aki", "kb").status == 4
    assert akidb("tenant", "delete", "aki", "--json").json == {"deleted": "aki"}
    assert akidb("tenant", "get", "aki").status == 3
    assert akidb("tenant", "delete", "aki").status == 3
    deleted = akidb("tenant", "list", "--deleted", "--json").json["items"]
    assert [tenant["tenant_id"] for tenant in deleted] == [tenant_id]
    assert akidb("tenant", "restore", "aki", "--json").json["status"] == "suspended"
    assert akidb("tenant", "purge", "aki", "--yes").status == 4
    assert "restore" in akidb("tenant", "delete", "aki").out
    assert akidb("tenant", "purge", "aki", "--yes").out == "purged aki\n"
    assert akidb("tenant", "restore", tenant_id).status == 3
    actions = [entry["action"] for entry in akidb("audit", "list", tenant_id, "--json").json["items"]]
    assert len(actions) >= 7


def test_purge_requires_yes_without_terminal(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki").status == 0
    assert akidb("tenant", "delete", "aki").status == 0
    result = akidb("tenant", "purge", "aki")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: invalid_argument: yes: this cannot be undone: confirm with --yes\n"
    assert akidb("tenant", "restore", "aki").status == 0


def test_purge_looks_before_it_asks(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki").status == 0
    for command in ("purge", "delete"):
        asked = ("--purge",) if command == "delete" else ()
        assert akidb("tenant", command, "nobody", *asked).err.startswith("error: not_found")
        assert akidb("tenant", command, "aki", *asked, "--if-version", "7", "--yes").status == 4
    assert akidb("tenant", "purge", "aki").err.startswith("error: invalid_state")
    assert "--yes" in akidb("tenant", "delete", "aki", "--purge").err
    actions = [entry["action"] for entry in akidb("audit", "list", "aki", "--json").json["items"]]
    assert actions == ["tenant.create", "database.create"][: len(actions)]


def test_delete_with_purge_frees_the_name(akidb: Run, tmp_path: Path) -> None:
    for _ in range(2):
        assert akidb("tenant", "create", "Aki").status == 0
        assert akidb("database", "create", "aki", "kb").status == 0
        for _ in range(2):
            assert akidb("collection", "create", "aki/kb", "notes", "--dimension", "16").status == 0
            assert akidb("collection", "delete", "aki/kb/notes", "--purge", "--yes").status == 0
        assert akidb("database", "delete", "aki/kb", "--purge", "--yes").out == "purged aki/kb\n"
        archive = tmp_path / "aki.akidb"
        assert akidb("tenant", "export", "aki", str(archive), "--force").status == 0
        assert akidb("tenant", "delete", "aki", "--purge", "--yes").out == "purged aki\n"
        assert akidb("tenant", "import", str(archive)).status == 4
        assert akidb("tenant", "import", str(archive), "--new-ids").status == 0
        assert akidb("tenant", "delete", "aki", "--purge", "--yes", "--json").json == {"purged": "aki"}


def test_quota_without_limit_is_shown(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki", "--qps", "unlimited", "--storage-quota", "1GB").status == 0
    made = akidb("tenant", "get", "aki")
    assert ["qps_quota", "unlimited"] in [line.split() for line in made.out.splitlines()]
    assert akidb("tenant", "update", "aki", "--storage-quota", "unlimited").status == 0
    usage = akidb("tenant", "usage", "aki")
    assert usage.out.splitlines()[1].split() == ["storage_bytes", "0", "unlimited"]
    assert akidb("tenant", "update", "aki", "--qps", "many").status == 2


def test_usage_shows_each_quota(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki", "--storage-quota", "1000").status == 0
    usage = akidb("tenant", "usage", "aki", "--json").json
    assert usage["storage_bytes"] == {"limit": 1000, "used": 0}
    assert usage["qps"] == {"limit": 200}
    assert usage["databases"] == 0
    lines = akidb("tenant", "usage", "aki").out.splitlines()
    assert lines[0].split() == ["used", "limit"]
    assert lines[1].split() == ["storage_bytes", "0", "1,000"]


def test_audit_lists_changes(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki").status == 0
    assert akidb("tenant", "suspend", "aki", "--reason", "unpaid").status == 0
    entries = akidb("audit", "list", "aki", "--json").json
    assert [entry["result"] for entry in entries["items"]] == ["allowed", "allowed"]
    assert entries["items"][1]["reason"] == "unpaid"
    table = akidb("audit", "list", "aki")
    assert "unpaid" in table.out
    first = akidb("audit", "list", "aki", "--limit", "1", "--json").json
    rest = akidb("audit", "list", "aki", "--cursor", first["next_cursor"], "--json").json
    assert [*first["items"], *rest["items"]] == entries["items"]
