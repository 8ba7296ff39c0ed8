"""Unit tests of `flashq.server.allocator`; tests/integration/test_hostile.py shows what it is good for."""

import ctypes
import platform

import pytest

from flashq.server import allocator


def test_the_gnu_library_is_told() -> None:
    """Where it is the C library, both thresholds are taken; elsewhere nothing happens."""
    assert allocator.give_memory_back() == (platform.libc_ver()[0] == "glibc")


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without these thresholds is no reason not to start."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.give_memory_back()
