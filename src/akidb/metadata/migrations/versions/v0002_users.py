"""Users."""

from akidb.sql import steps

revision = "0002"
down_revision = "0001"

_DIGIT = "[0-9]"
_INSTANT = f"{_DIGIT * 4}-[01]{_DIGIT}-[0-3]{_DIGIT}T[0-2]{_DIGIT}:[0-5]{_DIGIT}:[0-5]{_DIGIT}.{_DIGIT * 6}Z"

# AkiDB computes `email_key`, the case-folded email, so that both databases compare alike. The schema can
# only check the ASCII part, which both databases fold alike.
SQLITE = (
    f"""
    CREATE TABLE users (
        user_id BLOB PRIMARY KEY NOT NULL CONSTRAINT users_id CHECK (length(user_id) = 16),
        tenant_id BLOB NOT NULL
            CONSTRAINT users_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        email TEXT NOT NULL CONSTRAINT users_email CHECK (
            length(email) BETWEEN 3 AND 254 AND email GLOB '?*@?*' AND email NOT GLOB '*@*@*'),
        email_key TEXT NOT NULL CONSTRAINT users_email_folded CHECK (
            CASE WHEN email GLOB '*[^ -~]*' THEN email_key NOT GLOB '*[A-Z]*'
            ELSE email_key = lower(email) END),
        password_hash TEXT NOT NULL
            CONSTRAINT users_password_hash CHECK (password_hash GLOB '$argon2id$v=19$*'),
        role TEXT NOT NULL
            CONSTRAINT users_role CHECK (role IN ('admin', 'developer', 'viewer', 'auditor')),
        status TEXT NOT NULL
            CONSTRAINT users_status CHECK (status IN ('active', 'suspended', 'deactivated')),
        last_login_at TEXT CONSTRAINT users_last_login_at CHECK (last_login_at GLOB '{_INSTANT}'),
        created_by BLOB,
        version INTEGER NOT NULL CONSTRAINT users_version CHECK (version >= 1),
        created_at TEXT NOT NULL CONSTRAINT users_created_at CHECK (created_at GLOB '{_INSTANT}'),
        updated_at TEXT NOT NULL CONSTRAINT users_updated_at CHECK (updated_at GLOB '{_INSTANT}'),
        CONSTRAINT users_email_key UNIQUE (tenant_id, email_key),
        CONSTRAINT users_tenant_key UNIQUE (tenant_id, user_id),
        CONSTRAINT users_created_by FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, user_id)
    ) STRICT""",
    # Finds the users that a user created, when that user is deleted.
    "CREATE INDEX users_by_creator ON users (tenant_id, created_by) WHERE created_by IS NOT NULL",
    """
    CREATE TRIGGER users_touch AFTER UPDATE ON users FOR EACH ROW WHEN NEW.version = OLD.version
    BEGIN
        UPDATE users SET version = OLD.version + 1,
            updated_at = max(OLD.updated_at, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')
        WHERE user_id = NEW.user_id;
    END""",
)
POSTGRESQL = (
    """
    CREATE TABLE users (
        user_id uuid NOT NULL CONSTRAINT users_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL CONSTRAINT users_tenant REFERENCES tenants ON DELETE CASCADE,
        email text COLLATE "C" NOT NULL CONSTRAINT users_email CHECK (
            length(email) BETWEEN 3 AND 254 AND email ~ '^[^@]+@[^@]+$'),
        email_key text COLLATE "C" NOT NULL CONSTRAINT users_email_folded CHECK (
            CASE WHEN email ~ '[^ -~]' THEN email_key !~ '[A-Z]'
            ELSE email_key = lower(email) END),
        password_hash text COLLATE "C" NOT NULL
            CONSTRAINT users_password_hash CHECK (starts_with(password_hash, '$argon2id$v=19$')),
        role text COLLATE "C" NOT NULL
            CONSTRAINT users_role CHECK (role IN ('admin', 'developer', 'viewer', 'auditor')),
        status text COLLATE "C" NOT NULL
            CONSTRAINT users_status CHECK (status IN ('active', 'suspended', 'deactivated')),
        last_login_at timestamptz,
        created_by uuid,
        version bigint NOT NULL CONSTRAINT users_version CHECK (version >= 1),
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT users_email_key UNIQUE (tenant_id, email_key),
        CONSTRAINT users_tenant_key UNIQUE (tenant_id, user_id),
        CONSTRAINT users_created_by FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, user_id)
    )""",
    "CREATE INDEX users_by_creator ON users (tenant_id, created_by) WHERE created_by IS NOT NULL",
    """
    CREATE TRIGGER users_touch BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION touch()""",
)
SQLITE_BACK = POSTGRESQL_BACK = ("DROP TABLE users",)


def upgrade() -> None:
    """Create the table of users."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop it; audit entries are kept."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)
