"""Which files are watched, what counts as a change, and which change is better not followed."""

import asyncio
import os
from pathlib import Path

import pytest

from flashq.worker import reload
from flashq.worker.reload import Watch, faults


def write(path: Path, text: str = "") -> Path:
    """A file in folders that may be missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_changes(tmp_path: Path) -> None:
    """A file that is written, made, removed or renamed is a change, once."""
    old, kept = write(tmp_path / "old.py"), write(tmp_path / "deep" / "er" / "kept.py")
    watch = Watch([tmp_path])
    assert watch.changed() == []
    os.utime(kept, ns=(1, 1))
    assert watch.changed() == [kept]
    assert watch.changed() == []
    old.rename(tmp_path / "new.py")
    assert watch.changed() == [tmp_path / "new.py", old]
    made = write(tmp_path / "fresh" / "made.py")
    assert watch.changed() == [made]


@pytest.mark.parametrize(
    "name", [".venv/a.py", ".git/a.py", "node_modules/a.py", "__pycache__/a.py", "lib/site-packages/a.py", "a.txt"]
)
def test_what_is_not_watched(name: str, tmp_path: Path) -> None:
    """Installed packages, caches and data change for other reasons."""
    watch = Watch([tmp_path])
    write(tmp_path / name)
    assert watch.changed() == []


def test_a_single_file(tmp_path: Path) -> None:
    """A file that is named is watched whatever its kind, also while it is missing."""
    settings = tmp_path / "settings.toml"
    watch = Watch([settings])
    write(settings)
    assert watch.changed() == [settings]
    settings.unlink()
    assert watch.changed() == [settings]


def test_a_circle_of_folders(tmp_path: Path) -> None:
    """A link to a folder above does not lead round and round."""
    write(tmp_path / "a.py")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere")
    watch = Watch([tmp_path])
    assert watch.changed() == []


def test_so_many_files_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many files are not looked at, and that is said."""
    monkeypatch.setattr(reload, "MAX_FILES", 3)
    for number in range(5):
        write(tmp_path / f"{number}.py")
    watch = Watch([tmp_path])
    assert len(watch._seen) == 3
    assert "only 3 source files are watched" in caplog.text


async def test_waits_until_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that writes file after file is one change."""
    looks = [["a"], ["b"], [], ["c"], []]
    watch = Watch([tmp_path])
    monkeypatch.setattr(reload, "POLL_MS", 1)
    monkeypatch.setattr(watch, "changed", lambda: [Path(name) for name in looks.pop(0)])
    async with asyncio.timeout(10):
        assert await watch.next_change() == [Path("a"), Path("b")]
        assert await watch.next_change() == [Path("c")]


def test_faults(tmp_path: Path) -> None:
    """Only what can never be imported is a fault: a removed file, data, and good code are not."""
    bad, null = write(tmp_path / "bad.py", "def f(:"), write(tmp_path / "null.py", "\0")
    good, data = write(tmp_path / "good.py", "x = 1"), write(tmp_path / "data.toml", "def f(:")
    found = faults([bad, good, data, tmp_path / "removed.py", null])
    assert [text.partition(": ")[0] for text in found] == [str(bad), str(null)]
