"""The directory of an AkiDB 1.x: the manifests in it, read, and written anew.

It knows files only. What a manifest says is for `akidb.domain.manifests`, what becomes of it for services.
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
