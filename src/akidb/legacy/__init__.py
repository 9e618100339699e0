"""Reads and writes the manifest files of an AkiDB 1.x directory.

Only handles files: manifests are parsed in `akidb.domain.manifests` and migrated by the services.
"""

from akidb.legacy.reading import find, read
from akidb.legacy.writing import OutDirectory, is_safe

__all__ = ["LegacyFiles"]


class LegacyFiles:
    """`akidb.ports.migration.ManifestFiles` on the file system."""

    find = staticmethod(find)
    read = staticmethod(read)
    is_safe = staticmethod(is_safe)
    open_output = OutDirectory
