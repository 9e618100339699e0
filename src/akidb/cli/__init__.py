"""The command line: it turns arguments into operations and answers into tables or JSON.

It knows no rule of the domain and touches no store; all it asks goes through `akidb.ports.operations`,
in this process or over a socket. Heavy modules load inside the commands that need them, because
`akidb --help` and shell completion must answer at once.
"""
