"""The command line: converts arguments to operations, and results to tables or JSON.

It contains no domain rules and does not access stores; all calls go through `akidb.operations`, in
process or over a socket. Heavy modules are imported inside the commands that need them, so that
`akidb --help` and shell completion are fast.
"""
