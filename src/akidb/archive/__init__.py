"""The format of archives: typed parts in checked frames. What may be in them is for the services."""

from akidb.archive.parts import ArchiveReader, ArchiveWriter, require_exportable

__all__ = ["FramedArchives"]


class FramedArchives:
    """`akidb.ports.archive.ArchiveFormat` of this version of AkiDB."""

    reader = ArchiveReader
    writer = ArchiveWriter
    require_exportable = staticmethod(require_exportable)
