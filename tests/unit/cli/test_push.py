"""How a file becomes batches."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flashq.cli import push
from flashq.cli.payloads import Line
from flashq.cli.reach import BadLine
from flashq.client import JobSpec, PushedIds
from flashq.protocol.limits import MAX_BATCH


def jobs(text: bytes, whole: bool = False, **given: object) -> list[tuple[Line, JobSpec]]:
    """The jobs of a file with this content."""
    file = io.BytesIO(text)
    file.name = "jobs.ndjson"
    return list(push._jobs(file, given, whole=whole))


def sized(sizes: list[int]) -> Iterator[tuple[Line, JobSpec]]:
    """Lines of these sizes."""
    return ((Line(number, b"1" * size, size + 1), JobSpec(data=1)) for number, size in enumerate(sizes, 1))


@given(st.lists(st.integers(1, push.BATCH_BYTES // 2), max_size=30))
def test_batches(sizes: list[int]) -> None:
    """Every line is in one batch, in order; none is empty, and each is just large enough to be sent."""
    batches = [[len(line.text) for line, _ in batch] for batch in push._batches(sized(sizes))]
    assert [size for batch in batches for size in batch] == sizes
    assert all(sum(batch[:-1]) < push.BATCH_BYTES for batch in batches)
    assert all(sum(batch) >= push.BATCH_BYTES for batch in batches[:-1])


def test_a_batch_is_no_longer_than_the_server_takes() -> None:
    """Small jobs fill batches to the protocol's limit."""
    assert [len(batch) for batch in push._batches(sized([1] * (2 * MAX_BATCH + 1)))] == [MAX_BATCH, MAX_BATCH, 1]


def test_options_hold_for_every_line() -> None:
    """A line is a payload, and the options are those of the command."""
    made = jobs(b'1\n\n"two"\n', priority=5)
    assert [(line.number, bytes(spec.data), spec.priority) for line, spec in made] == [(1, b"1", 5), (3, b'"two"', 5)]


def test_a_whole_line_goes_before_the_options() -> None:
    """What a line says itself counts, also when it says zero; what it leaves out is filled in."""
    made = jobs(b'{"data":1,"priority":0}\n{"data":2,"delay":7}\n', whole=True, priority=5, delay=9)
    assert [(spec.priority, spec.delay) for _, spec in made] == [(0, 9), (5, 7)]
    assert isinstance(made[0][1].data, Raw)


@pytest.mark.parametrize(
    ("text", "whole", "sentence"),
    [
        (b"1\n\n{oops\n", False, "line 3 of jobs.ndjson: not JSON: "),
        (b'{"data":1}\n{"priority":1}', True, "line 2 of jobs.ndjson: not a job: "),
        (b"1\n\xff", False, "line 2 of jobs.ndjson: not JSON: not UTF-8 at byte 0"),
    ],
)
def test_a_bad_line(text: bytes, whole: bool, sentence: str) -> None:
    """A fault is told with the line where it stands."""
    with pytest.raises(BadLine) as caught:
        jobs(text, whole)
    assert caught.value.format_message().startswith(sentence)


class EveryFirstIsKnown:
    """A server that knows the first job of every batch already, and the second by its own id."""

    def push_batch(self, _: str, specs: list[JobSpec]) -> PushedIds:
        """Ids from 1."""
        return PushedIds(list(range(1, len(specs) + 1)), [0], [1])


def test_places_count_over_the_file() -> None:
    """Duplicates are told by their place in the file, not in the batch that nobody sees."""
    read: list[int] = []
    pushed = push._push_file(EveryFirstIsKnown(), "q", sized([1] * (MAX_BATCH + 5)), read.append)  # type: ignore[arg-type]
    assert pushed.duplicates == [0, MAX_BATCH]
    assert pushed.replayed == [1, MAX_BATCH + 1]
    assert len(pushed) == MAX_BATCH + 5
    assert read == [2 * MAX_BATCH, 10]
