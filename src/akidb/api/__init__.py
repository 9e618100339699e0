"""The HTTP API: routes, and the table from error class to status.

A request passes `middleware`, is routed by Litestar, and is executed by `endpoint` in a worker thread:
it reads the body, calls the handler of the route, and encodes the response. Names, filters and
documents are validated by the services, not here.
"""
