"""Clients that reach nobody: they note what they are asked and answer from a list."""

from collections.abc import Iterable
from typing import Any

from msgspec import json

from flashq import App, Duplicate
from flashq.client import Ending, FlowJob, JobSpec, PushedIds


class Recorder:
    """A plain client that notes pushes.

    Attributes:
        pushed: (queue, envelope, options) of every job.
        endings: what `wait_job` answers, first to last.
        held: unique keys that are taken, with the job that holds each.
        known: ids of the client's own that are known.
    """

    def __init__(self) -> None:
        self.pushed: list[tuple[str, Any, dict[str, Any]]] = []
        self.batches: list[int] = []
        self.flows: list[list[FlowJob]] = []
        self.endings: list[Ending] = []
        self.waited: list[tuple[int, int | None]] = []
        self.held: dict[str, int] = {}
        self.known: set[str] = set()
        self.closed = False

    def push(self, queue: str, data: object, **options: Any) -> int:
        key = options.get("unique_key")
        if key in self.held:
            raise Duplicate(f"Duplicate job with key: {key}", self.held[key])
        self.pushed.append((queue, json.decode(json.encode(data)), options))
        return len(self.pushed)

    def push_batch(self, queue: str, jobs: Iterable[JobSpec]) -> PushedIds:
        specs = list(jobs)
        self.batches.append(len(specs))
        ids = [self.push(queue, spec.data) for spec in specs]
        duplicates = [place for place, spec in enumerate(specs) if spec.unique_key in self.held]
        replayed = [place for place, spec in enumerate(specs) if spec.job_id in self.known]
        self.known |= {spec.job_id for spec in specs if spec.job_id is not None}
        return PushedIds(ids, duplicates, replayed)

    def push_flow(self, jobs: Iterable[FlowJob]) -> PushedIds:
        self.flows.append(list(jobs))
        return PushedIds(list(range(1, len(self.flows[-1]) + 1)), [], [])

    def wait_job(self, job: int, timeout: int | None = None) -> Ending:
        self.waited.append((job, timeout))
        return self.endings.pop(0)

    def close(self) -> None:
        self.closed = True


class AsyncRecorder:
    """The same behind coroutines."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    async def push(self, queue: str, data: object, **options: Any) -> int:
        return self.recorder.push(queue, data, **options)

    async def push_batch(self, queue: str, jobs: Iterable[JobSpec]) -> PushedIds:
        return self.recorder.push_batch(queue, jobs)

    async def push_flow(self, jobs: Iterable[FlowJob]) -> PushedIds:
        return self.recorder.push_flow(jobs)

    async def wait_job(self, job: int, timeout: int | None = None) -> Ending:
        return self.recorder.wait_job(job, timeout)

    async def close(self) -> None:
        self.recorder.close()


def recorded(**options: Any) -> tuple[App, Recorder]:
    """An app whose clients are a recorder."""
    app, recorder = App(**options), Recorder()
    app.connect_with(lambda: recorder, lambda: AsyncRecorder(recorder))
    return app, recorder
