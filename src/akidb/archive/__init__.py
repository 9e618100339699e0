"""The archive format: typed parts in checksummed frames. The services validate the content."""

from akidb.archive.ending import PassedOn
from akidb.archive.parts import ArchiveReader, ArchiveWriter, require_exportable

__all__ = ["FramedArchives", "PassedOn"]


class FramedArchives:
    """`akidb.ports.archive.ArchiveFormat` of this version of AkiDB."""

    reader = ArchiveReader
    writer = ArchiveWriter
    require_exportable = staticmethod(require_exportable)
