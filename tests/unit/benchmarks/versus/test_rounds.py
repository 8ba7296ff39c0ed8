"""Who plays when, and what the programs of a round get to see."""

from collections import Counter

from benchmarks.versus.contestants import CONTESTANTS
from benchmarks.versus.driver import BROKER, MARKS
from benchmarks.versus.environments import ROOT
from benchmarks.versus.rounds import ROUNDS, _environment, another, turns


def test_everybody_plays_as_often_as_everybody_else() -> None:
    """In each round each contestant plays once with each promise that it makes."""
    played = Counter((one.name, promise) for number in range(ROUNDS) for one, promise in turns(CONTESTANTS, number))
    assert played == {(one.name, promise): ROUNDS for one in CONTESTANTS for promise in one.promises}
    assert list(turns([], 0)) == []


def test_each_round_begins_with_another() -> None:
    """Nobody always comes first, when the machine is fresh."""
    firsts = {next(turns(CONTESTANTS, number))[0].name for number in range(ROUNDS)}
    assert len(firsts) == ROUNDS


def test_no_round_is_begun_that_will_not_fit_into_the_time() -> None:
    """A slow machine gets fewer rounds, all of them whole, and never none."""
    assert another(0, 200, limit=100)
    assert another(1, 50, limit=100)
    assert not another(1, 51, limit=100)
    assert another(2, 66, limit=100)
    assert not another(2, 67, limit=100)


def test_programs_see_no_settings_that_happen_to_be_around(tmp_path, monkeypatch) -> None:
    """A variable of the shell that starts the comparison must not set up one of the systems."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("FLASHQ_URL", "flashq://elsewhere")
    seen = _environment("redis://here", tmp_path)
    assert set(seen) <= {"PATH", "TMPDIR", "LANG", "PYTHONPATH", "RQ_REDIS_URL", BROKER, MARKS}
    assert (seen[BROKER], seen[MARKS], seen["PYTHONPATH"]) == ("redis://here", str(tmp_path), str(ROOT))
