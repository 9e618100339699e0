"""Documents as an Arrow IPC stream, in which vectors travel over HTTP without becoming decimal numbers.

Own code for the part of the format that documents need. What a client sends is read by Python, which checks
every offset, and not by a C++ library in the process that has all tenants (ADR 40). Columns are `id`, `text`
and `metadata` (JSON), all UTF-8, and `vector`, lists of floats.
"""

from akidb.ports.arrow.decoding import decode
from akidb.ports.arrow.encoding import encode

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

__all__ = ["MEDIA_TYPE", "decode", "encode"]
