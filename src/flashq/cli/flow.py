"""``flashq flow``: jobs that wait for each other, from a file, in one step.

The file is read whole before anything is sent, since a flow is pushed wholly or not at all.
"""

from typing import BinaryIO

import click

from flashq.cli.payloads import BadText, lines, parse_flow_job
from flashq.cli.reach import BadLine, Verb, Wishes
from flashq.client import FlowJob
from flashq.protocol.limits import MAX_BATCH


@click.command(cls=Verb)
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def flow(wishes: Wishes, file: BinaryIO) -> None:
    r"""Push the jobs of FILE, one a line, all or none, and print their ids; - is stdin.

    A job is what PUSH takes, with its queue; \"after\" names jobs of the file that must complete first by their places,
    which count from 0.

    \b
    Example:
      flashq flow report.ndjson      # which holds these lines:
      {"queue": "fetch", "data": "a"}
      {"queue": "fetch", "data": "b"}
      {"queue": "merge", "data": null, "after": [0, 1], "collect": true}
    """
    jobs = read_flow(file)
    with wishes.client() as q:
        pushed = q.push_flow(jobs)
    wishes.show.done(" ".join(map(str, pushed)), ids=list(pushed), replayed=pushed.replayed)


def read_flow(file: BinaryIO) -> list[FlowJob]:
    """The lines of a file as jobs.

    Raises:
        BadLine: one of them is no job, or there are none, or too many.
    """
    name = getattr(file, "name", "<stdin>")  # not every stream has one
    jobs: list[FlowJob] = []
    for line in lines(file):
        if len(jobs) == MAX_BATCH:
            raise BadLine(f"line {line.number} of {name}: a flow has at most {MAX_BATCH} jobs")
        try:
            jobs.append(FlowJob(**parse_flow_job(line.text)))
        except BadText as error:
            raise BadLine(f"line {line.number} of {name}: {error}") from None
    if not jobs:
        raise BadLine(f"{name}: there are no jobs in it")
    return jobs
