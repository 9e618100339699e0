"""The Python interface: handles over one `Operations`, in process or over HTTP.

`handles` is the user-facing API, `http` is the client of a server, `connect` resolves targets.
No rule about the data lives here: rules are in the services, shapes in the domain.
"""
