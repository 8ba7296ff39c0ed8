"""A real server, real sockets, real signals."""
