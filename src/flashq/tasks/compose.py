"""Composition: `chain` (one after the other), `group` (side by side), `chord` (side by side, then one with all).

A composition becomes one PUSHFLOW: all of its jobs are on disk or none is, with the edges between them. From then on
the server does the rest: it holds each job back until its parents have completed and delivers their results with it.
No process waits in between, so nothing is lost when workers, producers or the server restart.

A job of a composition that ends among the dead letters holds up what follows; retried with success, all goes on.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final

from msgspec import Raw, Struct

from flashq.client import FlowJob, PushedIds
from flashq.errors import BadRequest
from flashq.tasks.arguments import Arguments
from flashq.tasks.durations import Duration
from flashq.tasks.job import Job
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.payload import Use
from flashq.tasks.sender import Sender


class _Node(Struct):
    """One job of a flow. ``after``: places of its parents in the flow; ``use``: how their results are used."""

    job: Outgoing
    after: list[int]
    use: Use | None


class _Ends(Struct):
    """What a part of a flow leaves to the next.

    Attributes:
        places: of its last jobs, whose results the next part gets.
        many: whether it was a group.
        after: places of the jobs that must be over first; those of ``places`` unless the group was empty.
    """

    places: list[int]
    many: bool
    after: list[int]


_START: Final = _Ends([], many=False, after=[])


class Flow:
    """Jobs that were enqueued together.

    Attributes:
        app: where.
        jobs: all of them, parents before children.
        last: those whose results are the flow's.
    """

    def __init__(self, app: Sender, jobs: list[Job[Any]], last: list[Job[Any]], *, many: bool) -> None:
        self.app = app
        self.jobs = jobs
        self.last = last
        self._many = many

    def __repr__(self) -> str:
        return f"<Flow of {len(self.jobs)} jobs>"

    def result(self, timeout: Duration | None = None) -> Any:  # noqa: ANN401 - whatever the last task returns
        """Wait for the flow's result: the last job's, or for a group the list of all members'.

        Args:
            timeout: for each job that is waited for, ms or timedelta; None: as long as it takes.

        Raises:
            JobFailed, JobLost, CallTimeout: as `Job.result`.
        """
        results = [job.result(timeout) for job in self.last]
        return results if self._many else results[0]

    async def aresult(self, timeout: Duration | None = None) -> Any:  # noqa: ANN401
        """`result` for coroutines."""
        results = [await job.aresult(timeout) for job in self.last]
        return results if self._many else results[0]

    def __await__(self) -> Generator[Any, Any, Any]:
        """``await flow`` waits as long as it takes."""
        return self.aresult().__await__()

    def cancel(self) -> None:
        """Take back all its jobs that have not ended."""
        with self.app.client.pipeline(keep_errors=True) as pipeline:
            for job in reversed(self.jobs):  # children first: a cancelled parent would bury them as dead letters
                pipeline.cancel(job.id)


class Part:
    """A piece of a composition. ``a | b`` is ``chain(a, b)``."""

    def place(self, nodes: list[_Node], before: _Ends) -> _Ends:
        """Append this part's jobs to ``nodes``, after those of ``before``."""
        raise NotImplementedError

    def apps(self) -> list[Sender]:
        """The apps of its tasks."""
        raise NotImplementedError

    def __or__(self, other: "Part") -> "chain":
        return chain(self, other)

    def delay(self) -> Flow:
        """Enqueue all of it, or nothing.

        Raises:
            BadRequest: it is empty, or mixes tasks of several apps.
            Duplicate: a live job holds one of the unique keys.
        """
        app, nodes, ends = self._laid_out()
        for node in nodes:
            for middleware in app.middlewares:
                middleware.before_enqueue(node.job)
        return _flow(app, nodes, ends, app.client.push_flow(map(_flow_job, nodes)))

    async def adelay(self) -> Flow:
        """`delay` for coroutines."""
        app, nodes, ends = self._laid_out()
        for node in nodes:
            for middleware in app.middlewares:
                await middleware.abefore_enqueue(node.job)
        return _flow(app, nodes, ends, await app.aclient.push_flow(map(_flow_job, nodes)))

    def _laid_out(self) -> tuple[Sender, list[_Node], _Ends]:
        nodes: list[_Node] = []
        ends = self.place(nodes, _START)
        apps = self.apps()
        if not nodes:
            raise BadRequest("an empty composition: there is nothing to enqueue")
        if any(app is not apps[0] for app in apps):
            raise BadRequest("a composition of tasks of several apps cannot be enqueued together")
        return apps[0], nodes, ends


class Signature(Part):
    """One call of a task, not made yet.

    Args:
        app: the task's app.
        arguments: its parameters.
        make: the job of a call with these arguments.
        args: positional arguments; the results before it come in front of them.
        kwargs: keyword arguments.
        immutable: take no results.
    """

    def __init__(
        self,
        app: Sender,
        arguments: Arguments,
        make: Callable[[tuple[Any, ...], dict[str, Any]], Outgoing],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        immutable: bool = False,
    ) -> None:
        self.app = app
        self.arguments = arguments
        self.make = make
        self.args = tuple(args)
        self.kwargs = kwargs
        self.immutable = immutable

    def place(self, nodes: list[_Node], before: _Ends) -> _Ends:
        """Append the job of this call."""
        use: Use | None = None
        args = self.args
        if not self.immutable and before.many and not before.places:
            args = ([], *args)  # after an empty group: the empty list of its results
        elif not self.immutable and before.places:
            use = "list" if before.many else "first"
        self.arguments.check(args if use is None else (None, *args), self.kwargs)
        nodes.append(_Node(self.make(args, dict(self.kwargs)), before.after, use))
        here = [len(nodes) - 1]
        return _Ends(here, many=False, after=here)

    def apps(self) -> list[Sender]:
        """The task's app."""
        return [self.app]


class chain(Part):  # noqa: N801 - used like a function
    """One part after the other; each gets the result of the one before as its first argument.

    ::

        chain(fetch.s("https://example.org"), parse.s(), store.s("links")).delay()

    After a group the next part gets the list of the members' results.
    """

    def __init__(self, *parts: Part) -> None:
        # Chains in chains are one: ``a | b | c ...`` of thousands would else be nested thousands deep.
        self.parts: list[Part] = [one for part in parts for one in (part.parts if isinstance(part, chain) else [part])]

    def place(self, nodes: list[_Node], before: _Ends) -> _Ends:
        """Append the jobs of all parts, each after the one before."""
        for part in self.parts:
            before = part.place(nodes, before)
        return before

    def apps(self) -> list[Sender]:
        """The apps of its tasks."""
        return [app for part in self.parts for app in part.apps()]


class group(Part):  # noqa: N801
    """Parts side by side. Its result is the list of theirs, in this order.

    ::

        group(resize.s(photo, width) for width in (100, 400, 1600)).delay()
    """

    def __init__(self, *parts: Part | Iterable[Part]) -> None:
        self.parts = [one for part in parts for one in ([part] if isinstance(part, Part) else part)]

    def place(self, nodes: list[_Node], before: _Ends) -> _Ends:
        """Append the jobs of all parts, each after what came before the group."""
        places = [place for part in self.parts for place in part.place(nodes, before).places]
        return _Ends(places, many=True, after=places or before.after)

    def apps(self) -> list[Sender]:
        """The apps of its tasks."""
        return [app for part in self.parts for app in part.apps()]


def chord(header: Iterable[Part], body: Part) -> chain:
    """Parts side by side, then one that gets the list of their results: fan out, fan in.

    Args:
        header: what runs side by side.
        body: what gets the list of the results as its first argument.
    """
    return chain(group(header), body)


def _flow_job(node: _Node) -> FlowJob:
    options = node.job.options
    return FlowJob(
        queue=options.queue,
        data=Raw(node.job.payload(node.use)),
        after=node.after or None,
        collect=node.use is not None,
        **options.members(),
    )


def _flow(app: Sender, nodes: list[_Node], ends: _Ends, ids: PushedIds) -> Flow:
    known = set(ids.replayed)
    jobs = [
        app.job(id, node.job.task, fresh=place not in known)
        for place, (node, id) in enumerate(zip(nodes, ids, strict=True))
    ]
    return Flow(app, jobs, [jobs[place] for place in ends.places], many=ends.many)
