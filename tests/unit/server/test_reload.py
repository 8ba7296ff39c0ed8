"""Unit tests of `flashq.server.reload`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flashq.server import reload
from flashq.server.reload import Reloads


class Loaded:
    """Counts how often it was loaded, and fails when it is told to."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        """Load."""
        self.times += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
async def reloads(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reloads]:
    """One that looks often."""
    monkeypatch.setattr(reload, "EVERY_S", 0.001)
    reloads = Reloads(asyncio.get_running_loop())
    yield reloads
    reloads.stop()


async def test_every_kind_of_change_is_noticed(reloads: Reloads, tmp_path: Path) -> None:
    """A file that comes, is written, is replaced by one as old and as large, and goes."""
    path, loaded = tmp_path / "f", Loaded()
    reloads.add("things", (path,), loaded)
    changes = (
        lambda: path.write_text("1"),
        lambda: path.write_text("22"),
        lambda: (path.with_name("n").write_text("33"), os.utime(path.with_name("n"), ns=(1, path.stat().st_mtime_ns)),
                 path.with_name("n").replace(path)),
        path.unlink,
    )  # fmt: skip
    for times, make in enumerate(changes, 1):
        make()
        async with asyncio.timeout(30):
            while loaded.times < times:
                await asyncio.sleep(0)
        assert loaded.times == times


async def test_nothing_is_loaded_for_nothing(reloads: Reloads, tmp_path: Path) -> None:
    """While the file stays as it is, and while there never was one, even when it is asked for."""
    there, missing = Loaded(), Loaded()
    (tmp_path / "there").write_text("1")
    reloads.add("things", (tmp_path / "there",), there)
    reloads.add("others", (tmp_path / "missing",), missing)
    for _ in range(5):
        reloads._look()
    assert (there.times, missing.times) == (0, 0)
    reloads.now()
    assert (there.times, missing.times) == (1, 0)


async def test_a_file_that_cannot_be_used_is_told_loudly_and_once(
    reloads: Reloads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next change is looked at again."""
    path, loaded = tmp_path / "f", Loaded()
    reloads.add("things", (path,), loaded)
    loaded.error = ValueError("half of it is missing")
    path.write_text("1")
    for _ in range(5):
        reloads._look()
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "things not reloaded, those from before stay: half of it is missing")
    ]
    loaded.error = None
    path.write_text("22")
    reloads._look()
    assert loaded.times == 2


async def test_it_looks_no_more_once_stopped(reloads: Reloads, tmp_path: Path) -> None:
    """A server that leaves has no timer left."""
    reloads.add("things", (tmp_path / "f",), Loaded())
    reloads.stop()
    reloads.stop()
    assert reloads._timer is None
