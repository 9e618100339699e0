"""The HTTP interface, asked over real sockets."""
