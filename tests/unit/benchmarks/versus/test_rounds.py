"""Who plays when, and what the programs of a round get to see."""

from collections import Counter

from benchmarks.versus.contestants import CONTESTANTS
from benchmarks.versus.driver import BROKER, MARKS
from benchmarks.versus.environments import ROOT
from benchmarks.versus.rounds import _environment, turns


def test_everybody_plays_as_often_as_everybody_else() -> None:
    """In each round each contestant plays once with each promise that it makes."""
    played = Counter((one.name, promise) for one, promise in turns(CONTESTANTS, 3))
    assert played == {(one.name, promise): 3 for one in CONTESTANTS for promise in one.promises}


def test_the_turns_are_interleaved_and_each_round_begins_with_another() -> None:
    """Nobody plays all rounds in a row, and nobody always comes first, when the machine is fresh."""
    order = [one.name for one, promise in turns(CONTESTANTS, 3) if promise == "relaxed"]
    count = len(CONTESTANTS)
    rounds = [order[at : at + count] for at in range(0, len(order), count)]
    assert [sorted(one) for one in rounds] == [sorted(one.name for one in CONTESTANTS)] * 3
    assert len({one[0] for one in rounds}) == 3


def test_programs_see_no_settings_that_happen_to_be_around(tmp_path, monkeypatch) -> None:
    """A variable of the shell that starts the comparison must not set up one of the systems."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("FLASHQ_URL", "flashq://elsewhere")
    seen = _environment("redis://here", tmp_path)
    assert set(seen) <= {"PATH", "TMPDIR", "LANG", "PYTHONPATH", "RQ_REDIS_URL", BROKER, MARKS}
    assert (seen[BROKER], seen[MARKS], seen["PYTHONPATH"]) == ("redis://here", str(tmp_path), str(ROOT))
