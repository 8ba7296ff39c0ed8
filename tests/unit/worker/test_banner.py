"""Unit tests of `flashq.worker.banner`."""

from flashq import __version__
from flashq.worker.banner import WIDTH, banner


def test_facts_stand_below_each_other() -> None:
    """One fact a line, the values aligned, an empty line at the end."""
    assert banner([("app", "shop:app"), ("executor", "async")]) == (
        f"flashq worker {__version__}\n\n  app       shop:app\n  executor  async\n\n"
    )


def test_long_lists_go_on_below() -> None:
    """A list is broken between its words, and no line is wider than the terminal of most people."""
    names = [f"shop.tasks.number_{n}" for n in range(20)]
    lines = banner([("tasks", names)]).splitlines()[2:-1]
    assert len(lines) > 1
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[1].startswith("         shop.tasks.number_")
    assert "".join(lines).split() == ["tasks", *(f"{name}," for name in names)] or " ".join(lines).count("shop") == 20


def test_an_empty_list() -> None:
    """It says so."""
    assert "queues  none" in banner([("queues", [])])


def test_names_from_elsewhere_are_harmless() -> None:
    """A task may have any name; it does not repaint the terminal."""
    assert "\x1b" not in banner([("tasks", ["\x1b[2J\nfaked"])])
