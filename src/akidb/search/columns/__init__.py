"""The metadata of an index's documents by field: what filters, facets and orders by a field read.

In a part of an index a document has a fixed position. A field's column is a table of its distinct values, and
for each row the codes of its values. A condition is decided once for each distinct value, then looked up for
the rows. Rows whose values are not in memory are noted, and read where nothing else decides. Texts are never
in memory.

`values` numbers values (`akidb.domain.field_values` says which are one, and their order), `paths` finds
which a field reaches, `tables` and `entries` are the two halves of a column, `decisions` and `evaluation`
apply a filter, `reading` is what columns answer, `growing` and `stored` are the two kinds.
"""

from akidb.domain.ordering import Ordered, merged
from akidb.search.columns.growing import GrowingColumns, Limits
from akidb.search.columns.reading import Columns, Documents
from akidb.search.columns.stored import StoredColumns, pack

__all__ = [
    "Columns",
    "Documents",
    "GrowingColumns",
    "Limits",
    "Ordered",
    "StoredColumns",
    "merged",
    "pack",
]
