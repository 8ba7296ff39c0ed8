"""The plain client is the async one without its asynchronous words: nobody keeps two by hand."""

from pathlib import Path

import pytest
from tools import unasync


def test_the_generated_client_is_up_to_date() -> None:
    """A change of the async client that was not carried over would give two clients that behave differently."""
    found = unasync.TARGET.read_text(encoding="utf-8")
    assert unasync.difference(unasync.generate(), found) == "", "run: python tools/unasync.py"


def test_no_asynchronous_word_is_left() -> None:
    """A word that the generator does not know would be a coroutine in the middle of a blocking program."""
    text = unasync.plain(unasync.SOURCE.read_text(encoding="utf-8")).removeprefix(unasync.HEADER)
    for word in ("async", "await", "Async", "__aenter__"):
        assert word not in text, word


def test_a_drift_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check fails, and shows how the file differs, when somebody changed the generated client by hand."""
    changed = tmp_path / unasync.TARGET.name
    changed.write_text(unasync.TARGET.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    monkeypatch.setattr(unasync, "TARGET", changed)
    assert unasync.main(["--check"]) == 1
    assert "-# by hand" in capsys.readouterr().out
    assert unasync.main([]) == 0
    assert unasync.main(["--check"]) == 0


def test_a_sentence_that_is_gone_is_noticed() -> None:
    """What is said differently of the two clients must not silently stay as it was."""
    with pytest.raises(ValueError, match="a sentence that is gone"):
        unasync.plain('"""Doc."""\nx = 1\n')
