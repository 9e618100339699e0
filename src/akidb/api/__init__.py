"""The HTTP interface: routes, and the one table from error to status.

A request comes in through `gate`, is routed by Litestar, and `endpoint` carries it out in a worker
thread: it reads the body, calls one handler of a feature module (`tenants`, `documents`, ...), and
encodes the answer. Nothing here decides what a name, a filter or a document may be: services do.
"""
