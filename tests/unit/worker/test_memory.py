"""Unit tests of `flashq.worker.memory`."""

import os
from pathlib import Path

import pytest

from flashq.worker import memory
from flashq.worker.memory import resident_mb


def test_memory_of_this_process() -> None:
    """What is resident is at least what was written to, and not a page count by mistake."""
    before = resident_mb()
    hoard = bytearray(os.urandom(1)) * (64 * 1024 * 1024)
    assert 60 <= resident_mb() - before <= 80
    del hoard


def test_memory_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the most that was ever resident counts, in the same unit."""
    now = resident_mb()
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere"))
    assert now * 0.8 <= resident_mb() < now * 20
