"""The judge sees what is slow and what keeps memory, and nothing else."""

import pytest
from tests.fuzz.judge import LOOK_EVERY_S, MAX_GROWTH_BYTES, MAX_INPUT_S, Grown, Judge, TooSlow, least_s


class Costs:
    """A reader whose costs are what its inputs say: processor milliseconds, then megabytes that it keeps."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.held = 1

    def read(self, data: bytes) -> str:
        """Spend and keep."""
        self.spent += data[0] / 1000
        self.held += data[1] << 20
        return "read"


def _judge(costs: Costs, **more: object) -> Judge:
    return Judge(costs.read, 0.0, lambda: costs.spent, lambda: costs.held, lambda: costs.spent, **more)  # type: ignore[arg-type]


def test_the_ending_is_passed_on() -> None:
    """A reading that costs little is said to have ended as the reader says."""
    assert _judge(Costs()).read(b"\x01\x00") == "read"


def test_a_slow_input_is_told() -> None:
    """One that takes too long whenever it is tried is a finding."""
    with pytest.raises(TooSlow, match="2 bytes took 60 ms"):
        _judge(Costs()).read(b"\x3c\x00")


def test_an_input_that_was_slow_once_is_not() -> None:
    """The machine may have been slow; but the same again, and slower, is asked about again."""
    asked: list[bytes] = []

    def again(data: bytes) -> float:
        asked.append(data)
        return MAX_INPUT_S / 2

    judge = _judge(Costs(), again_s=again)
    for milliseconds in (60, 60, 70, 80):
        judge.read(bytes((milliseconds, 0)))
    assert [data[0] for data in asked] == [60, 80]


def test_the_least_time_counts() -> None:
    """Of several readings the fastest says what an input takes."""
    clock = iter([0, 9, 10, 12, 20, 28, 30, 39, 40, 49])
    assert least_s(lambda _: "", b"", lambda: next(clock)) == 2


def test_growing_memory_is_told() -> None:
    """Once it is warm the process may grow by so much, and no more."""
    costs = Costs()
    judge = _judge(costs)
    judge.read(b"\x01\x00")
    costs.held += MAX_GROWTH_BYTES
    costs.spent += LOOK_EVERY_S
    judge.read(b"\x01\x00")
    costs.spent += LOOK_EVERY_S
    with pytest.raises(Grown, match="bytes when warm"):
        judge.read(b"\x01\x01")


def test_memory_that_is_given_back_is_not_told() -> None:
    """What comes and goes is no growth."""
    costs = Costs()
    judge = _judge(costs)
    for _ in range(100):
        judge.read(b"\x28\x14")
        costs.held = 1
