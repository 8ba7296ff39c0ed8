"""The drawing of a job's life: made from the engine's table, and the document shows the newest one."""

from pathlib import Path

import pytest
from tools import state_diagram
from tools.state_diagram import BEGIN, END, drawing, table, with_drawing

from flashq.engine.lifecycle import TRANSITIONS


def test_the_document_is_up_to_date() -> None:
    """docs/protocol.md shows the moves that the engine makes, because a wrong drawing is worse than none."""
    assert state_diagram.main(["--check"]) == 0


def test_every_transition_is_drawn() -> None:
    """No move of the table is missing from the drawing or from the table below it."""
    picture, rows = drawing(TRANSITIONS), table(TRANSITIONS)
    for before, event, after in TRANSITIONS:
        assert event in picture
        assert f"| {before} | {event} | {after} |" in rows


def test_the_form() -> None:
    """Ends of a life are dots, a hyphenated name gets an alias, two events between the same states share an arrow."""
    assert drawing([("new", "push", "waiting-children"), ("waiting-children", "a", "gone")]).splitlines() == [
        "```mermaid",
        "stateDiagram-v2",
        '    state "waiting-children" as waiting_children',
        "    [*] --> waiting_children: push",
        "    waiting_children --> [*]: a",
        "```",
    ]
    assert "    a --> b: x; y" in drawing([("a", "x", "b"), ("a", "y", "b")])


def test_only_the_part_between_the_marks_changes() -> None:
    """What people wrote around the drawing stays, and drawing twice changes nothing."""
    once = with_drawing(f"before\n{BEGIN}\nold\n{END}\nafter\n", TRANSITIONS)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert with_drawing(once, TRANSITIONS) == once


@pytest.mark.parametrize("document", ["", BEGIN, END + BEGIN, BEGIN + END + BEGIN + END])
def test_marks_that_are_not_right(document: str) -> None:
    """A document without its marks is refused instead of being overwritten."""
    with pytest.raises(ValueError, match="must be there once each"):
        with_drawing(document, TRANSITIONS)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` reports and changes nothing, without it the document is written; anything else shows the usage."""
    document = tmp_path / "protocol.md"
    monkeypatch.setattr(state_diagram, "DOCUMENT", document)
    assert state_diagram.main([]) == 1
    document.write_text(f"{BEGIN}\n{END}\n")
    assert state_diagram.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert document.read_text() == f"{BEGIN}\n{END}\n"
    assert state_diagram.main([]) == 0
    assert state_diagram.main(["--check"]) == 0
    assert state_diagram.main(["--help"]) == 2
