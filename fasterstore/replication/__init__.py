"""Replication: formats and rules of what two nodes say to each other. No gevent, sockets or clock."""
