"""The store as values and pure functions: formats and rules. No gevent, no sockets, no clock."""
