"""Commands without a door: a real engine, a session, and a clock of which the test is the master."""

from collections.abc import Hashable
from itertools import count
from typing import Any

from msgspec.json import decode, encode

from flashq.commands.execute import execute
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.engine.trail import Question, Ring
from flashq.model import Instant
from flashq.observe.events import Hub
from flashq.protocol.codec import decode_request

Answer = dict[str, Any]


class Past:
    """What a desk remembers: a ring, which answers at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ring = Ring()

    def ask(self, token: Hashable, question: Question, now: Instant) -> None:
        """Feed the question and deliver it."""
        del now
        self._ring.append(self._engine.outbox.take_records())
        for _ in self._ring.read(question):
            pass
        self._engine.outbox.deliver(token, question)


class Desk:
    """Takes commands as a client writes them and gives answers as a client reads them."""

    def __init__(self, *, max_bytes: int = 1 << 30) -> None:
        numbers = count(1)
        self.now = Instant(1_700_000_000_000, 1_000)
        self.engine = Engine(Settings(max_bytes=max_bytes), nonce=lambda: f"{next(numbers):x}", now=self.now)
        self.hub = Hub(self._watch)
        self.context = Context(self.engine, self.hub)
        self.session = Session()
        self.parked: dict[int, Parked] = {}

    def ask(self, cmd: str, **members: object) -> Answer:
        """The answer, or ``{"parked": token}`` for a call that waits. A refusal is raised."""
        request = decode_request(encode({"cmd": cmd, **members}))
        reply = execute(self.context, self.session, request, self.now)
        if isinstance(reply, Parked):
            self.parked[token := len(self.parked) + 1] = reply
            reply.park(token, self.now)
            if not reply.brief:
                return {"parked": token}
            ((_, delivered),) = self.engine.outbox.take_deliveries()
            reply = reply.reply(delivered)
        answer: Answer = decode(encode(reply))
        assert answer.pop("ok") is True
        return answer

    def keep_history(self) -> None:
        """From now on."""
        self.engine.outbox.auditing = True
        self.context.archive = Past(self.engine)

    def pass_time(self, ms: int) -> None:
        """Time goes by, and what is due is done."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)
        self.engine.tick(self.now)

    def _watch(self, watched: bool) -> None:
        self.engine.outbox.watched = watched
