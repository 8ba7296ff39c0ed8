"""What is compared is installed apart, and what cannot be had says so."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from benchmarks.versus import environments
from benchmarks.versus.contestants import FLASHQ, Contestant
from benchmarks.versus.environments import Missing, binaries, install


def test_ours_is_the_one_that_runs_the_comparison() -> None:
    """Nothing is installed for it, and its version is that of this very environment."""
    assert install(FLASHQ) == version("flashq-server")
    assert binaries(FLASHQ) == Path(sys.executable).parent


def test_what_cannot_be_installed_is_missing_with_the_words_of_pip(tmp_path, monkeypatch) -> None:
    """The table can say why a system is not in it."""
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    (tmp_path / "odd" / "bin").mkdir(parents=True)
    (tmp_path / "odd" / "bin" / "python").symlink_to(sys.executable)
    odd = Contestant("Odd", "odd", ("not a requirement!",), "no-such-distribution", (), 1, "")
    with pytest.raises(Missing, match=r"(?i)requirement"):
        install(odd)
