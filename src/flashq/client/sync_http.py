"""HTTP under the plain client: a `Wire` of ``sync_connection.py`` whose lines go over one HTTP connection.

Used by one thread at a time, so nothing overtakes anything: a call is a request and its answer. Each event stream of a
subscription has a connection of its own beside it.
"""

import select
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from flashq.client.address import Address
from flashq.client.deadlines import deadline_of, left_ms, now_ms
from flashq.client.http import KEEP_MS, OK_LINE, Conversation, Speaker, is_stream, stream_of, take_batch
from flashq.client.pipeline import checked_event
from flashq.client.sockets import DIAL_LIMIT_S, Stream, set_timeout, shut, stale
from flashq.errors import CallTimeout, ConnectionLost, FlashQError

RECEIVE_BYTES: Final = 65_536
"""Read at once."""


class HttpWire:
    """One HTTP connection.

    Args:
        address: of the server.
        connect: opens a connection within so many seconds.
        generation: which greeting it was opened with.
        timeout_ms: for the first connection.

    Attributes:
        generation: as given.
        used_at: when it answered last, in ms.
        answered: whether it ever answered.

    Raises:
        OSError: nobody is there.
    """

    __slots__ = (
        "_address",
        "_closed",
        "_connect",
        "_conversation",
        "_events",
        "_speaker",
        "_stream",
        "_streams",
        "answered",
        "generation",
        "used_at",
    )

    def __init__(
        self, address: Address, connect: Callable[[float], Stream], generation: int, timeout_ms: float
    ) -> None:
        self._address = address
        self._connect = connect
        self._speaker = Speaker(address)
        self._conversation = Conversation(address)
        self._stream = connect(timeout_ms / 1000)
        self._streams: dict[str, tuple[Stream, Conversation]] = {}
        self._events: deque[bytes] = deque()
        self._closed = False
        self.generation = generation
        self.used_at = now_ms()
        self.answered = False

    def ask(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request and wait for its answer.

        Raises:
            ConnectionLost: the connection ended first.
            CallTimeout: no answer in time. In both cases the connection is of no use any more.
            BadRequest: the request cannot be sent over HTTP.
        """
        return self._told([line], deadline_of(timeout_ms))[0]

    def ask_all(self, lines: Sequence[bytes], timeout_ms: float | None) -> list[bytes | BaseException]:
        """Send many requests, in as few of HTTP as their sizes allow; from the first that failed on, the error."""
        deadline = deadline_of(timeout_ms)
        left = deque(lines)
        outcomes: list[bytes | BaseException] = []
        try:
            while left:
                outcomes.extend(self._told(take_batch(left), deadline))
        except FlashQError as error:
            outcomes.extend([error] * (len(lines) - len(outcomes)))
        return outcomes

    def ask_beside_events(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Begin or end an event stream, or send any other request."""
        if not is_stream(line):
            return self.ask(line, timeout_ms)
        begins, queue, kinds = stream_of(line)
        answer = self._subscribed(queue, kinds, deadline_of(timeout_ms)) if begins else OK_LINE
        if not begins:
            self._drop(queue)
        return answer

    def next_event(self, timeout_ms: float | None) -> bytes:
        """The next event line.

        Raises:
            CallTimeout: none came in time.
            ConnectionLost: a stream ended, or events were left out; all that came before are taken.
        """
        deadline = deadline_of(timeout_ms)
        while not self._events:
            try:
                self._look(deadline)
            except (TimeoutError, BlockingIOError):
                raise CallTimeout(f"no event within {timeout_ms} ms") from None
            except OSError as error:
                raise self._lost(error) from error
        return checked_event(self._events.popleft())

    def stale(self) -> bool:
        """Whether the server has closed the connection, or soon will."""
        return now_ms() - self.used_at > KEEP_MS or stale(self._stream)

    def close(self) -> None:
        """Close; a thread that waits here is woken."""
        self._closed = True
        for stream in [self._stream, *(stream for stream, _ in list(self._streams.values()))]:
            shut(stream)

    # inside

    def _told(self, lines: list[bytes], deadline: float) -> list[bytes]:
        """The answers to lines that go into one request."""
        try:
            if self._conversation.done and not self._conversation.reusable:
                self._renew(deadline)
            request = self._conversation.post(lines, self._speaker)
            answers: list[bytes] = []
            self._write(request, deadline)
            while not self._conversation.done:
                answers.extend(self._read(self._stream, self._conversation, deadline))
        except (TimeoutError, BlockingIOError):
            raise CallTimeout(f"no answer from {self._address} in time; the outcome is unknown") from None
        except (OSError, ConnectionLost) as error:
            raise self._lost(error) from error
        self._speaker.heard(lines[0], answers[0])
        self.answered = True
        return answers

    def _renew(self, deadline: float) -> None:
        """Another connection, since the server has ended this one in good order."""
        shut(self._stream)
        self._conversation = Conversation(self._address)
        self._stream = self._connect(_seconds(deadline))
        if self._closed:
            shut(self._stream)

    def _write(self, request: bytes, deadline: float) -> None:
        """Send a request; a server that refuses it before it has read it all has answered nevertheless."""
        set_timeout(self._stream, left_ms(deadline))
        with suppress(BrokenPipeError, ConnectionResetError):
            self._stream.sendall(request)

    def _read(self, stream: Stream, conversation: Conversation, deadline: float) -> list[bytes]:
        set_timeout(stream, left_ms(deadline))
        return conversation.receive(stream.recv(RECEIVE_BYTES))

    def _subscribed(self, queue: str, kinds: Sequence[str], deadline: float) -> bytes:
        """Begin a stream, in place of an older one of the queue; the answer to that."""
        conversation = Conversation(self._address)
        try:
            stream = self._connect(_seconds(deadline))
            try:
                set_timeout(stream, left_ms(deadline))
                stream.sendall(conversation.stream(queue, kinds, self._speaker))
                lines: list[bytes] = []
                while not (conversation.begun or conversation.done):
                    lines = self._read(stream, conversation, deadline)
            except BaseException:
                stream.close()
                raise
        except (TimeoutError, BlockingIOError):
            raise CallTimeout(f"no answer from {self._address} in time; the outcome is unknown") from None
        except (OSError, ConnectionLost) as error:
            raise self._lost(error) from error
        if conversation.done:
            stream.close()
            return lines[0]
        self._drop(queue)
        self._streams[queue] = (stream, conversation)
        self._events.extend(lines)
        if self._closed:
            shut(stream)
        return OK_LINE

    def _drop(self, queue: str) -> None:
        old = self._streams.pop(queue, None)
        if old is not None:
            shut(old[0])

    def _look(self, deadline: float) -> None:
        """Take in what the streams bring, as soon as one of them brings something."""
        ready = select.poll()
        by_number = {stream.fileno(): (stream, conversation) for stream, conversation in self._streams.values()}
        for number in by_number:
            if number < 0:
                raise self._lost(ConnectionLost("the client was closed"))
            ready.register(number, select.POLLIN)
        happened = ready.poll(left_ms(deadline))
        if not happened:
            raise TimeoutError
        for number, _ in happened:
            stream, conversation = by_number[number]
            try:
                self._events.extend(self._read(stream, conversation, deadline))
            except ConnectionLost as error:
                raise self._lost(error) from error

    def _lost(self, reason: OSError | ConnectionLost) -> ConnectionLost:
        lost = ConnectionLost(f"the connection ended: {reason} ({self._address})")
        if isinstance(reason, ConnectionLost):
            lost.retry_after_ms = reason.retry_after_ms
        return lost


def _seconds(deadline: float) -> float:
    """How long connecting may take."""
    left = left_ms(deadline)
    return DIAL_LIMIT_S if left is None else min(DIAL_LIMIT_S, left / 1000)
