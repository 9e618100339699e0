"""The manifests that tenants had in AkiDB 1.x."""

from akidb.sql import steps

revision = "0003"
down_revision = "0002"

_DIGIT = "[0-9]"
_INSTANT = f"{_DIGIT * 4}-[01]{_DIGIT}-[0-3]{_DIGIT}T[0-2]{_DIGIT}:[0-5]{_DIGIT}:[0-5]{_DIGIT}.{_DIGIT * 6}Z"

# Paths are bytes, as in the file system. Migrations from two directories may import the same path twice.
SQLITE = (
    f"""
    CREATE TABLE legacy_manifests (
        tenant_id BLOB PRIMARY KEY NOT NULL
            CONSTRAINT legacy_manifests_id CHECK (length(tenant_id) = 16)
            CONSTRAINT legacy_manifests_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        path BLOB NOT NULL CONSTRAINT legacy_manifests_path CHECK (length(path) >= 1),
        manifest BLOB NOT NULL,
        sha256 BLOB NOT NULL CONSTRAINT legacy_manifests_sha256 CHECK (length(sha256) = 32),
        slug TEXT NOT NULL CONSTRAINT legacy_manifests_slug CHECK (length(slug) BETWEEN 1 AND 63),
        migrated_at TEXT NOT NULL
            CONSTRAINT legacy_manifests_migrated_at CHECK (migrated_at GLOB '{_INSTANT}')
    ) STRICT""",
)
POSTGRESQL = (
    """
    CREATE TABLE legacy_manifests (
        tenant_id uuid NOT NULL CONSTRAINT legacy_manifests_pkey PRIMARY KEY
            CONSTRAINT legacy_manifests_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        path bytea NOT NULL CONSTRAINT legacy_manifests_path CHECK (length(path) >= 1),
        manifest bytea NOT NULL,
        sha256 bytea NOT NULL CONSTRAINT legacy_manifests_sha256 CHECK (length(sha256) = 32),
        slug text COLLATE "C" NOT NULL
            CONSTRAINT legacy_manifests_slug CHECK (length(slug) BETWEEN 1 AND 63),
        migrated_at timestamptz NOT NULL
    )""",
)
SQLITE_BACK = POSTGRESQL_BACK = ("DROP TABLE legacy_manifests",)


def upgrade() -> None:
    """Create the table of manifests."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop it. Byte-exact export of its manifests to 1.x is then impossible."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)
