"""The Python interface: handles over one `Operations`, which is bound in process or over HTTP.

`handles` is what users hold, `http` speaks to a server, `targets` reads what `connect` is given.
Nothing here decides anything about the data: rules live in the services, shapes in the domain.
"""
