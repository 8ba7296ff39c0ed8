"""A flow is read whole, and a fault is told with its line."""

from io import BytesIO

import pytest

from flashq.cli.flow import read_flow
from flashq.cli.reach import BadLine
from flashq.protocol.limits import MAX_BATCH


def test_lines_are_jobs() -> None:
    """Blank lines do not count; what a line does not say stays unsaid, and payloads stay as they were written."""
    jobs = read_flow(BytesIO(b'{"queue":"a","data":1.50}\n\n{"queue":"b","data":null,"after":[0],"collect":true}'))
    assert [(job.queue, bytes(job.data), job.after, job.collect) for job in jobs] == [
        ("a", b"1.50", None, False),
        ("b", b"null", [0], True),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "<stdin>: there are no jobs in it"),
        (b'{"queue":"a","data":1}\n{oops', "line 2 of <stdin>: not JSON: "),
        (b'{"data":1}', "line 1 of <stdin>: not a job: Object missing required field `queue`"),
        (b'{"queue":"a","data":1,"after":0}', "line 1 of <stdin>: not a job: Expected `array"),
        (b'{"queue":"a","data":1}\n' * (MAX_BATCH + 1), "line 10001 of <stdin>: a flow has at most 10000 jobs"),
    ],
)
def test_a_bad_flow(text: bytes, sentence: str) -> None:
    """Nothing is sent of a file with a fault."""
    with pytest.raises(BadLine) as caught:
        read_flow(BytesIO(text))
    assert caught.value.format_message().startswith(sentence)
