"""A job on its way to the server."""

import pytest

from flashq.errors import TooLarge
from flashq.protocol.limits import MAX_JOB_BYTES
from flashq.tasks.options import Options
from flashq.tasks.outgoing import Outgoing


def test_its_payload_is_the_envelope() -> None:
    """With the headers that middlewares left in it."""
    job = Outgoing("t", (1,), {"k": 2}, Options(queue="q"), {})
    job.headers["trace"] = "x"
    assert job.payload("list") == b'{"task":"t","args":[1],"kwargs":{"k":2},"headers":{"trace":"x"},"use":"list"}'


ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("argument", "why"), [(object(), "object has no JSON form"), ("\ud800", "surrogates"), (ENDLESS, "recursion")]
)
def test_what_has_no_json_form_names_the_task(argument: object, why: str) -> None:
    """The error is raised where the job is enqueued."""
    with pytest.raises(TypeError, match=f"task 't': .*{why}"):
        Outgoing("t", (argument,), {}, Options(queue="q"), {}).payload()


def test_more_than_a_job_may_carry_names_the_task() -> None:
    """Before anything is sent, with both numbers."""
    with pytest.raises(TooLarge, match=rf"task 't': Job data too large \(10\d+ bytes, max {MAX_JOB_BYTES} bytes\)"):
        Outgoing("t", ("x" * MAX_JOB_BYTES,), {}, Options(queue="q"), {}).payload()
