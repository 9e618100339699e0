"""Immutable parts of a vector index: files beside the store with a FAISS graph over compressed vectors.

A segment has documents at fixed positions `0..count-1`; which of them are current is recorded elsewhere.
Segments are built and merged in a child process, and derived: one that is missing, damaged or of another
version is built again from the rows.

`files` reads and writes arrays with checksums, `header` says what a segment contains, `ids` finds positions
by id, `vectors` reads the float32 vectors, `graph` wraps FAISS, `recall` chooses how far a search looks,
`segment` opens it all. `rows` and `merging` are the input of `build`, the program of the child process,
which `builder` starts.
"""
