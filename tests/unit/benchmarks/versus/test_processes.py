"""A program is watched and ended with everything that it started."""

import os
from time import monotonic

import pytest
from benchmarks.machine import resident_bytes
from benchmarks.versus.processes import Program, members, proportional_bytes

PATIENCE = 20


def shell(script: str, folder) -> Program:
    """A shell as the program."""
    return Program(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}, folder)


def test_children_count_and_end_with_their_parent(tmp_path) -> None:
    """A worker of several processes is measured whole, and none of them lives on to disturb the next measurement."""
    script = "trap '' TERM; sleep 600 & sleep 600 & : >ready; wait"  # not touch, which would be a fourth process
    began = monotonic()
    with shell(script, tmp_path) as program:
        program.wait_for(tmp_path / "ready", PATIENCE)
        session = program._process.pid
        assert len(members(session)) == 3
        assert 0 < program.proportional_bytes() <= program.resident_bytes()
        assert program.cpu_seconds() >= 0
    assert members(session) == []
    assert began <= program.started <= monotonic()


def test_a_program_that_ends_too_early_says_what_it_said(tmp_path) -> None:
    """Instead of waiting for a mark that cannot come, the measurement fails with the program's own words."""
    with (
        shell("echo no broker there >&2; exit 1", tmp_path) as program,
        pytest.raises(RuntimeError, match="no broker there"),
    ):
        program.wait_for(tmp_path / "ready", PATIENCE)


def test_a_mark_that_does_not_come_is_not_waited_for_for_ever(tmp_path) -> None:
    """A system that stands still costs its patience and not the whole comparison."""
    with shell("sleep 600", tmp_path) as program, pytest.raises(RuntimeError, match="no ready mark"):
        program.wait_for(tmp_path / "ready", 0)


def test_the_share_of_a_process_is_part_of_what_it_holds() -> None:
    """Shared pages count for less than they do in the resident size, and nothing counts for more."""
    assert 0 < proportional_bytes(os.getpid()) <= resident_bytes(os.getpid()) * 1.1
