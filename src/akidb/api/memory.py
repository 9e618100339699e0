"""Makes the C library give large blocks back to the operating system when they are freed."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
BLOCK_BYTES = 4 * 2**20
"""Blocks from this size are mapped each; smaller ones, such as those of searches, are reused."""
FREE_BYTES = 16 * 2**20
"""More free memory than this at the end of the heap is given back."""


def return_large_blocks() -> None:
    """Set the thresholds of glibc; elsewhere do nothing.

    Its own threshold grows with the blocks that are freed, up to 32 MiB, so that the memory of large bodies
    would be kept, in pieces.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, FREE_BYTES)
