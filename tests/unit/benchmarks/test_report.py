"""How figures are kept, rounded, judged and written down."""

from dataclasses import replace

import pytest
from benchmarks.report import (
    FIGURES,
    FULL,
    TINY,
    Goal,
    Marks,
    Result,
    Size,
    check_marks,
    line,
    number,
    renewed,
    section,
    table,
    write_into,
)
from hypothesis import given
from hypothesis import strategies as st

FAST = Result("push", "memory", "jobs/s", (900_000.0, 1_234_567.0, 2_000_000.0), Goal(1_000_000), "python -m b")
SLOW = Result("echo", None, "us", (40.0, 30.5, 50.25), Goal(most=35), "python -m c")


def test_the_median_and_not_the_mean_is_the_figure() -> None:
    """One sample that a neighbour spoilt must not move the figure."""
    assert Result("x", None, "s", (1.0, 1.1, 90.0)).median == 1.1


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(Goal(10), 10, True), (Goal(10), 9.9, False), (Goal(most=2), 2, True), (Goal(most=2), 2.1, False)],
)
def test_a_goal_includes_its_bound(goal: Goal, value: float, met: bool) -> None:
    """A figure at the bound reaches it, one beyond it on the wrong side does not."""
    assert goal.met(value) is met


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_234_567.0, "1,230,000"), (1_004.0, "1,000"), (12_345.0, "12,300"), (999.0, "999"), (1.2345, "1.23"), (0, "0")],
)
def test_numbers_show_three_digits(value: float, text: str) -> None:
    """More digits than the measurement has would be a lie."""
    assert number(value) == text


@given(st.floats(min_value=0.001, max_value=1e12))
def test_rounding_stays_close(value: float) -> None:
    """What is printed is the figure to half a percent, whatever its size."""
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_a_line_says_what_how_durable_how_much_and_whether_it_will_do() -> None:
    """A reader of the terminal needs no other place to understand a figure."""
    assert line(FAST) == "  push [memory]: 1,230,000 jobs/s (900,000 to 2,000,000)  at least 1,000,000: reached"
    assert line(SLOW) == "  echo [no server]: 40 us (30.5 to 50.2)  at most 35: MISSED"


def test_a_table_has_a_row_for_each_result() -> None:
    """The document shows median, spread and goal of every result."""
    assert table([FAST, SLOW]).splitlines()[2:] == [
        "| push | memory | 1,230,000 jobs/s | 900,000 to 2,000,000 | at least 1,000,000 | reached |",
        "| echo | - | 40 us | 30.5 to 50.2 | at most 35 | MISSED |",
    ]


def test_a_section_names_machine_and_commands() -> None:
    """A figure without its machine and its command cannot be repeated."""
    text = section([FAST, SLOW], "two cores", "python -m all", 0.031)
    assert text.startswith("Machine: two cores. Other programs used 3% of its processor time.")
    assert text.index("`python -m all`") < text.index("`python -m b`, 3 runs") < text.index("`python -m c`, 3 runs")


def test_a_section_says_when_some_figures_have_fewer_runs() -> None:
    """Where the time was up before all runs were made, the number of runs does not claim otherwise."""
    few = replace(FAST, samples=(1.0,))
    assert "`python -m b`, 1 to 3 runs:" in section([FAST, few, replace(FAST, samples=(1.0, 2.0))], "m", "c", 0)


def test_one_module_is_renewed_and_the_others_stay() -> None:
    """What was measured at another time says so; a module that is new comes last."""
    text = section([FAST, SLOW], "two cores", "python -m all", 0)
    before, behind = text.split("`python -m b`, 3 runs:")
    behind = behind[behind.index("`python -m c`") :]
    again = renewed(f"\n\n{text}\n\n", [replace(FAST, samples=(7.0,))], "four cores", 0.5)
    assert again.startswith(before)
    assert again.endswith(behind)
    middle = again.removeprefix(before).removesuffix(behind)
    where = "Machine: four cores. Other programs used 50% of its processor time."
    assert middle.startswith(f"`python -m b`, 1 runs, renewed later. {where}\n\n| what |")
    assert "| 7 jobs/s | 7 to 7 |" in middle
    assert renewed(again, [replace(FAST, samples=(7.0,))], "four cores", 0.5) == again
    new = renewed(text, [replace(FAST, command="python -m d")], "m", 0)
    assert new.startswith(f"{text}\n\n`python -m d`, 3 runs, renewed later.")


def test_figures_go_between_the_marks_and_nowhere_else(tmp_path) -> None:
    """Writing twice leaves the last figures and the prose around them untouched."""
    document = tmp_path / "document.md"
    document.write_text(f"before\n{FIGURES.begin}\nold\n{FIGURES.end}\nafter\n", encoding="utf-8")
    write_into(document, "first")
    write_into(document, "second")
    assert document.read_text(encoding="utf-8") == f"before\n{FIGURES.begin}\n\nsecond\n\n{FIGURES.end}\nafter\n"


def test_each_pair_of_marks_holds_its_own_figures(tmp_path) -> None:
    """One document can hold figures of two programs, and writing one leaves the other."""
    document = tmp_path / "document.md"
    other = Marks("<begin>", "<end>")
    document.write_text("<begin>theirs<end>\n" + FIGURES.begin + FIGURES.end, encoding="utf-8")
    write_into(document, "ours")
    write_into(document, "new", other)
    text = document.read_text(encoding="utf-8")
    assert text == f"<begin>\n\nnew\n\n<end>\n{FIGURES.begin}\n\nours\n\n{FIGURES.end}"


def test_missing_marks_are_found_before_anything_is_measured(tmp_path) -> None:
    """Minutes of measuring must not end in a document that cannot take the figures."""
    document = tmp_path / "document.md"
    document.write_text("precious", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        check_marks(document)


def test_a_document_without_marks_is_left_alone(tmp_path) -> None:
    """Figures are not written over a document that does not ask for them."""
    document = tmp_path / "document.md"
    document.write_text("precious", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write_into(document, "figures")
    assert document.read_text(encoding="utf-8") == "precious"


@given(st.integers(1, 10**7), st.integers(1, 10**4), st.floats(0.0001, 1.0))
def test_a_scaled_number_of_jobs_is_a_multiple_and_never_nothing(full: int, multiple: int, share: float) -> None:
    """Whatever the size, batches are whole and there is at least one."""
    jobs = Size(1, share).jobs(full, multiple)
    assert jobs >= multiple
    assert jobs % multiple == 0


def test_the_published_size_is_not_scaled() -> None:
    """The figures in the document are those of the full number of jobs, five times."""
    assert FULL.jobs(1_000_000, 10_000) == 1_000_000
    assert (FULL.runs, TINY.runs) == (5, 1)
