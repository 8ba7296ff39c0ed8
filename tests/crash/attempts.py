"""What became of jobs whose workers were killed, and the rules that it must obey.

Two witnesses that know nothing of each other: the notes of the code that ran (when each attempt began and ended), and
the events of the server (when it gave each attempt up). Both clocks are the machine's own, in ms.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

DEATHS: Final = frozenset(
    {
        "worker process died: killed by SIGKILL",
        "worker child process died: killed by SIGKILL",
        "worker lost",
    }
)
"""All that may be said of an attempt that failed: nothing but kills goes wrong here."""


@dataclass
class Story:
    """What is known of one job.

    Attributes:
        max_attempts: as it was pushed; 0 = no bound.
        state: in which the server has it at the end.
        begun: attempt -> when it began, each time it did.
        ended: attempts that came to the end of their code.
        given_up: when and why the server ended an attempt as failed, in order: the first entry is attempt 1.
        completed: how often the server said so.
    """

    max_attempts: int = 0
    state: str = ""
    begun: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    ended: set[int] = field(default_factory=set)
    given_up: list[tuple[int, str]] = field(default_factory=list)
    completed: int = 0


class Note(NamedTuple):
    """A line of what the jobs wrote: ``begin`` or ``end``, of which attempt, when and in which process."""

    what: str
    id: int
    attempt: int
    at_ms: int
    pid: int


def read(notes: Path) -> list[Note]:
    """All notes, in the order in which they were written."""
    lines = (line.split() for line in notes.read_text(encoding="ascii").splitlines())
    return [Note(what, *map(int, numbers)) for what, *numbers in lines]


def busy(notes: Path) -> list[int]:
    """The processes in which an attempt has begun and not ended; killed ones are among them."""
    running: dict[tuple[int, int], int] = {}
    for what, id, attempt, _, pid in read(notes):
        if what == "begin":
            running[id, attempt] = pid
        else:
            running.pop((id, attempt), None)
    return sorted(set(running.values()))


def stories(
    pushed: Mapping[int, int], states: Mapping[int, str], notes: Path, events: list[dict[str, Any]]
) -> dict[int, Story]:
    """Put together what is known.

    Args:
        pushed: job -> its max_attempts.
        states: job -> its last state.
        notes: the file that the jobs wrote.
        events: of the server, in their order.
    """
    found = {id: Story(most, states[id]) for id, most in pushed.items()}
    for what, id, attempt, at_ms, _ in read(notes):
        if what == "begin":
            found[id].begun[attempt].append(at_ms)
        else:
            found[id].ended.add(attempt)
    for event in events:
        story = found[event["job_id"]]
        if event["event_type"] in ("retrying", "failed"):
            story.given_up.append((event["timestamp"], event["error"]))
        elif event["event_type"] == "completed":
            story.completed += 1
    return found


def violations(found: Mapping[int, Story]) -> list[str]:
    """Everything that must not have happened. Empty is right."""
    return [f"job {id}: {what}: {story}" for id, story in found.items() for what in _faults(story)]


def reruns(found: Mapping[int, Story]) -> Counter[str]:
    """How many attempts were ended by which kind of death: a run without any has proved nothing."""
    return Counter(error for story in found.values() for _, error in story.given_up)


def _faults(story: Story) -> Iterator[str]:
    if story.state == "completed":
        if story.completed != 1:
            yield f"completed {story.completed} times"
        if not story.ended:
            yield "completed without having run to its end"
    elif story.state == "failed":
        if story.completed:
            yield "failed after it had completed"
        if not story.max_attempts or len(story.given_up) != story.max_attempts:
            yield "failed with attempts left"
    else:
        yield "lost"
    yield from _twice(story)
    for _, error in story.given_up:
        if error not in DEATHS:
            yield f"failed for no reason of ours: {error!r}"


def _twice(story: Story) -> Iterator[str]:
    """Attempts that ran while another one was still good."""
    for attempt, began in story.begun.items():
        if len(began) > 1:
            yield f"attempt {attempt} began {len(began)} times"
        if attempt - 1 > len(story.given_up):
            yield f"attempt {attempt} began though the one before was never given up"
        elif attempt > 1 and min(began) < story.given_up[attempt - 2][0]:
            yield f"attempt {attempt} began before the one before was given up"
