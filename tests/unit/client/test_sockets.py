"""Sockets as the clients want them."""

import socket

from flashq.client.sockets import KEEPALIVE, tune


def test_tcp_is_tuned() -> None:
    """Small requests leave at once, and a vanished peer is noticed within a minute."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        tune(plain)
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE["TCP_KEEPIDLE"]


def test_unix_sockets_are_left_alone() -> None:
    """A Unix socket knows no such options and must not fail for them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
        tune(plain)
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
