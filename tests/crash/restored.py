"""What a backup may hold that was made under load: judged by what the clients did and were told, and by nothing else.

A backup is the state of one moment between the question and the answer. So there is a first job that is not in it, and
every job before that one is, unless somebody may have completed it; and of the completions of each worker, who makes
one after the other, the first so many have happened and the others have not.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.crash.history import NEVER, Ack, History, Push


@dataclass
class Restored:
    """What a server had that was started on a backup.

    Attributes:
        asked, answered: when the backup was asked for, and when its answer came; steady seconds.
        live: every job that was not completed: its payload and its id.
        next_id: what it gave to the next job.
    """

    asked: float
    answered: float
    live: Sequence[tuple[str, int]]
    next_id: int


def faults(restored: Restored, histories: Sequence[History]) -> list[str]:
    """Everything that is not as it was at one moment. Empty is right.

    Args:
        restored: what was found.
        histories: of each client of the server that was backed up.
    """
    live = dict(restored.live)
    pushes = {push.uid: push for history in histories for push in history.pushes}
    ended: dict[int, float] = {}
    for history in histories:
        for ack in history.acks:
            ended[ack.id] = min(ended.get(ack.id, NEVER), ack.began)
    found = [
        *_invented(restored, pushes),
        *(fault for push in pushes.values() if push.id for fault in _of_push(restored, push, live, ended)),
    ]
    ids = set(live.values())
    for history in histories:
        found += _out_of_order(restored, [ack for ack in history.acks if ack.outcome == "ok"], ids)
    return found


def _invented(restored: Restored, pushes: Mapping[str, Push]) -> Iterator[str]:
    """Jobs that nobody pushed, or not yet, or that are there twice."""
    for uid, times in Counter(uid for uid, _ in restored.live).items():
        if times > 1:
            yield f"{uid} is there {times} times"
        if uid not in pushes or pushes[uid].began > restored.answered:
            yield f"{uid} is there, and nobody had pushed it"


def _of_push(restored: Restored, push: Push, live: Mapping[str, int], ended: Mapping[int, float]) -> Iterator[str]:
    """A push that was answered: is it there if it must be, and not if it must not?"""
    is_in = push.id < restored.next_id
    if not is_in and push.ended < restored.asked:
        yield f"{push.uid} (job {push.id}) was confirmed before the backup was asked for, which ends before it"
    if is_in and push.uid not in live and ended.get(push.id, NEVER) > restored.answered:
        yield f"{push.uid} (job {push.id}) is gone: the next one is {restored.next_id}, and nobody had completed it"
    if push.uid in live and live[push.uid] != push.id:
        yield f"{push.uid} is job {live[push.uid]}, and was job {push.id}"


def _out_of_order(restored: Restored, acks: Sequence[Ack], live: set[int]) -> Iterator[str]:
    """Completions of one client, in their order: has one happened that comes behind one that has not?"""
    undone: Ack | None = None
    for ack in acks:
        happened = ack.id < restored.next_id and ack.id not in live
        if happened and undone is not None:
            yield f"the completion of job {ack.id} is in it, and that of job {undone.id} before it is not"
        if not happened:
            undone = undone or ack
            if ack.ended < restored.asked:
                yield f"the completion of job {ack.id} was confirmed before the backup was asked for, and is not in it"
