"""Sockets as the clients want them."""

import socket

import pytest

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


def test_systems_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that lacks one of the options sets the others."""
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        tune(plain)
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == KEEPALIVE["TCP_KEEPCNT"]


def test_a_peer_that_is_gone() -> None:
    """A socket that takes no options any more raises nothing here."""
    plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plain.close()
    tune(plain)
