"""Plays every story beside this file and compares what is seen with what is written.

A file is a list of scenes, separated by blank lines: acts, ``----``, and what is to be seen. Lines that begin
with ``#`` are for the reader. ``pytest tests/scenarios --rewrite`` writes down what is seen today.
"""

from pathlib import Path

import pytest
from tests.scenarios.stage import Stage

STORIES = sorted(Path(__file__).parent.glob("*.txt"))
RULE = "----"


def play(story: str) -> str:
    """The story with what is seen today."""
    stage = Stage()
    scenes = []
    for scene in story.strip().split("\n\n"):
        acts, rule, _ = scene.partition(f"{RULE}")
        seen: list[str] = []
        for line in acts.splitlines():
            if line and not line.startswith("#"):
                seen += stage.act(line)
        assert rule or not seen, f"a scene without {RULE} in which something is seen: {scene}"
        scenes.append("\n".join([acts.rstrip("\n"), *([RULE, *seen] if rule else [])]))
    return "\n\n".join(scenes) + "\n"


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story(path: Path, request: pytest.FixtureRequest) -> None:
    """What is seen is what is written; and no invariant of the engine is broken on the way."""
    told = path.read_text(encoding="utf-8")
    seen = play(told)
    if request.config.getoption("--rewrite"):
        path.write_text(seen, encoding="utf-8")
    else:
        assert seen == told


def test_there_are_stories() -> None:
    """A folder that is not found would prove nothing."""
    assert len(STORIES) >= 15


def test_a_wrong_answer_is_noticed() -> None:
    """A story that says something else than what is seen fails."""
    story = "push emails\n----\njob 1\n\nstate 1\n----\n1 is completed\n"
    assert play(story) == story.replace("completed", "waiting")


def test_an_act_that_does_not_exist_is_an_error() -> None:
    """A slip of the pen does not pass for a scene in which nothing happens."""
    with pytest.raises(ValueError, match="no such act: pusch emails"):
        play("pusch emails\n----\n")
