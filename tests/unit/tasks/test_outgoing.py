"""A job on its way to the server."""

import pytest

from flashq.tasks.options import Options
from flashq.tasks.outgoing import Outgoing


def test_its_payload_is_the_envelope() -> None:
    """With the headers that middlewares left in it."""
    job = Outgoing("t", (1,), {"k": 2}, Options(queue="q"), {})
    job.headers["trace"] = "x"
    assert job.payload("list") == b'{"task":"t","args":[1],"kwargs":{"k":2},"headers":{"trace":"x"},"use":"list"}'


def test_what_has_no_json_form_names_the_task() -> None:
    """The error is raised where the job is enqueued."""
    with pytest.raises(TypeError, match="task 't': object has no JSON form"):
        Outgoing("t", (object(),), {}, Options(queue="q"), {}).payload()
