"""What a command answers that wants to wait: how to park it, and how its answer is made when the time has come.

Doors treat all alike. They park it under a token of their own, and later either have something delivered to that
token, or take it back with `flashq.engine.parking.Parking.unpark` because something stands in the way.
"""

from collections.abc import Callable, Hashable
from typing import Any

from msgspec import Struct

from flashq.model import Instant
from flashq.protocol.replies import Reply


class Parked(Struct):
    """A command that found nothing to answer yet.

    Attributes:
        park: parks it with the engine under the door's token; raises Overloaded or LimitReached.
        reply: what was delivered -> the answer; raises a FlashQError to refuse instead.
        over: the answer when its time is over or it may not wait; raises a FlashQError to refuse instead.
        in_line: whether further pulls of the same connection may stand behind it. They must not where what is waited
            for may depend on them.
        brief: the answer is on its way and comes by itself: what comes behind it waits for it, rather than end it.
    """

    park: Callable[[Hashable, Instant], None]
    reply: Callable[[Any], Reply]
    over: Callable[[], Reply]
    in_line: bool = False
    brief: bool = False
