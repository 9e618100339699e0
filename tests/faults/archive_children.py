"""Child processes that restore, import or back up until killed, or with few file descriptors."""

import io
import resource
from multiprocessing.connection import Connection
from pathlib import Path

from akidb.deployment.local import open_local, restore_local
from akidb.operations.archives import CreateBackup, ImportTenant
from akidb.settings import Settings


def settings() -> Settings:
    return Settings(models_dir="models", default_model="hash", synchronous="normal")


def restore(directory: Path, archive: Path, telling: Connection) -> None:
    """Restore, and tell when it begins and when it is done."""
    telling.send("ready")
    with archive.open("rb") as source:
        restore_local(directory, settings(), source)
    telling.send("done")


def take_in(directory: Path, archive: Path, telling: Connection) -> None:
    """Take a tenant in."""
    operations = open_local(directory, settings())
    telling.send("ready")
    with archive.open("rb") as source:
        operations.perform(ImportTenant(), source=source)
    telling.send("done")
    operations.close()


def with_few_descriptors(directory: Path, place: Path, tenants: int) -> None:
    """Back up and restore so many tenants with no more than 256 descriptors, and little memory."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    operations = open_local(directory, settings())
    target = io.BytesIO()
    operations.perform(CreateBackup(), sink=target)
    operations.close()
    target.seek(0)
    counts = restore_local(place, settings(), target)
    assert counts["stores"] == counts["tenants"] == tenants, counts
    assert len(list(Path("/proc/self/fd").iterdir())) < 64
