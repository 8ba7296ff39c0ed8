"""Clients that work with a server that is killed under them, and note everything.

Producers push in four ways, workers finish what they get in four ways. A client that loses its server notes that it
got no answer, and comes back as soon as there is a server again.
"""

import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

from tests.crash.history import Ack, Delivery, Entry, Fail, History, Push
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import Answer, EndOfAnswers, LineClient, ServerProcess, line

PLAIN: Final = "plain"
LIMITED: Final = "limited"
KEYED: Final = "keyed"
NAMED: Final = "named"
QUEUES: Final = (PLAIN, LIMITED, KEYED, NAMED)
LIMIT: Final = 64
"""Attempts at once in the limited queue."""

WINDOW: Final = 128
BATCH: Final = 2_000
KEYS: Final = 100
BACKLOG: Final = 20_000
"""Jobs ahead of the workers at which producers wait, so that the end is not one long drain."""

GONE: Final = (EndOfAnswers, OSError)
"""What a client sees when its server is killed."""

ENDLESS: Final = {"max_attempts": 0, "backoff": 0}
"""Jobs of this workload leave by being acknowledged and in no other way."""


class WebClient(LineClient):
    """The same over HTTP: what was sent since the last answer was read is the body of one request."""

    def __init__(self, port: int) -> None:
        """Connect at once, or a client would note pushes to a server that is not there. Args: ``port``: of the door."""
        self._web = HttpClient(port).connect()
        self._unsent: list[bytes] = []
        self._answers: deque[bytes] = deque()

    def send_raw(self, data: bytes) -> None:
        """Let these lines be part of the next request."""
        self._unsent.append(data)

    def receive_raw(self) -> bytes:
        """The next answer."""
        if not self._answers:
            body, self._unsent = b"".join(self._unsent), []
            try:
                answer = self._web.ask("POST", "/commands", body)
            except http.client.HTTPException as error:
                raise EndOfAnswers from error
            assert answer.status == 200, answer
            self._answers.extend(answer.body.removesuffix(b"\n").split(b"\n"))
        return self._answers.popleft()

    def close(self) -> None:
        """Close it."""
        self._web.close()


class Client(threading.Thread):
    """One client in a thread of its own, until it is told to stop.

    Attributes:
        history: what it did.
        trouble: what ended it before its time.
    """

    def __init__(self, connect: Callable[[], LineClient], seed: int, behind: Callable[[], int]) -> None:
        """Args: ``behind``: how many jobs are waiting to be worked on, roughly."""
        super().__init__(daemon=True)
        self.history = History()
        self.trouble: BaseException | None = None
        self.random = random.Random(seed)
        self.seed = seed
        self.behind = behind
        self._connect = connect
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Ask it to end after its present operation."""
        self._stop_asked.set()

    def run(self) -> None:
        """Work; after each loss of the server begin anew."""
        while not self._stop_asked.is_set():
            try:
                with self._connect() as client:
                    while not self._stop_asked.is_set():
                        self.work(client)
            except GONE:
                self._stop_asked.wait(0.005)
            except BaseException as error:  # the test wants to know, and a thread would only print it
                self.trouble = error
                return

    def work(self, client: LineClient) -> None:
        """One round."""
        raise NotImplementedError

    def pause_while_behind(self) -> None:
        """Wait until the workers have caught up."""
        while self.behind() > BACKLOG and not self._stop_asked.wait(0.01):
            pass


class Producer(Client):
    """Pushes. ``kind``: single, batch, keyed or named."""

    def __init__(self, kind: str, connect: Callable[[], LineClient], seed: int, behind: Callable[[], int]) -> None:
        super().__init__(connect, seed, behind)
        self._numbers = count()
        self._kind = kind
        self._unsure: dict[str, None] = {}

    def work(self, client: LineClient) -> None:
        """One window of pushes."""
        self.pause_while_behind()
        getattr(self, f"_{self._kind}")(client)

    def _new(self) -> Push:
        push = Push(f"{self.seed}-{next(self._numbers)}", time.monotonic())
        self.history.pushes.append(push)
        return push

    def _single(self, client: LineClient) -> None:
        pushes = [self._new() for _ in range(WINDOW)]
        client.send_raw(b"".join(line("PUSH", queue=PLAIN, data=push.uid, **ENDLESS) for push in pushes))
        for push in pushes:
            self._confirm(push, client.receive())

    def _batch(self, client: LineClient) -> None:
        queue, size = self.random.choice(((PLAIN, BATCH), (LIMITED, LIMIT)))
        pushes = [self._new() for _ in range(size)]
        client.send("PUSHB", queue=queue, jobs=[{"data": push.uid, **ENDLESS} for push in pushes])
        answer = client.receive()
        ended = time.monotonic()
        assert answer["ok"], answer
        for push, id in zip(pushes, answer["ids"], strict=True):
            push.id, push.ended = id, ended

    def _keyed(self, client: LineClient) -> None:
        """Pushes under few keys: most are refused, and those are no pushes."""
        keys = [f"key-{self.random.randrange(KEYS)}" for _ in range(WINDOW)]
        pushes = [Push(f"{self.seed}-{next(self._numbers)}", time.monotonic(), key=key) for key in keys]
        unanswered = deque(pushes)
        try:
            for push in pushes:
                client.send("PUSH", queue=KEYED, data=push.uid, unique_key=push.key, **ENDLESS)
            for push in pushes:
                answer = client.receive()
                unanswered.popleft()
                if answer["ok"]:
                    self._confirm(push, answer)
                    self.history.pushes.append(push)
                else:
                    assert answer["code"] == "duplicate", answer
        finally:
            self.history.pushes += unanswered

    def _named(self, client: LineClient) -> None:
        """Pushes that may be repeated: whatever got no answer is pushed again under the same name."""
        uids = list(self._unsure)[:WINDOW]
        uids += [f"{self.seed}-{next(self._numbers)}" for _ in range(WINDOW - len(uids))]
        pushes = [Push(uid, time.monotonic()) for uid in uids]
        self.history.pushes += pushes
        self._unsure |= dict.fromkeys(uids)
        client.send_raw(
            b"".join(line("PUSH", queue=NAMED, data=push.uid, job_id=push.uid, **ENDLESS) for push in pushes)
        )
        for push in pushes:
            self._confirm(push, client.receive())
            del self._unsure[push.uid]

    def _confirm(self, push: Push, answer: Answer) -> None:
        assert answer["ok"], answer
        push.id, push.ended = answer["id"], time.monotonic()


class Worker(Client):
    """Pulls and finishes. ``kind``: batch, single, failing or late."""

    def __init__(self, kind: str, connect: Callable[[], LineClient], seed: int) -> None:
        super().__init__(connect, seed, lambda: 0)
        self.done = 0
        self._kind = kind
        self._turn = seed
        self._old: deque[Delivery] = deque(maxlen=2_000)
        """Attempts to be acknowledged late, or again, some of them from before the last kill."""

    def work(self, client: LineClient) -> None:
        """One delivery."""
        self._turn += 1
        queue = QUEUES[self._turn % len(QUEUES)]
        # Who finishes late takes few of those of which there may be only so many, or nobody else would get any.
        most = 4 if queue == LIMITED and self._kind == "late" else self.random.choice((1, 50, 1_000))
        jobs = self.pull(client, queue, most)
        if jobs:
            getattr(self, f"_{self._kind}")(client, jobs)

    def pull(self, client: LineClient, queue: str, most: int) -> list[Delivery]:
        """Take jobs and note them."""
        began = time.monotonic()
        self.history.unanswered += most
        answer = client.ask("PULLB", queue=queue, count=most, timeout=self.random.choice((0, 5)))
        self.history.unanswered -= most
        assert answer["ok"], answer
        ended = time.monotonic()
        found = [Delivery(job["id"], job["data"], job["token"], began, ended) for job in answer["jobs"]]
        self.history.deliveries += found
        return found

    def acknowledge_batch(self, client: LineClient, jobs: list[Delivery]) -> None:
        """One ACKB; its answer tells which of them were stale."""
        acks = [self._begin(job) for job in jobs]
        answer = client.ask("ACKB", ids=[job.id for job in jobs], tokens=[job.token for job in jobs])
        assert answer["ok"], answer
        stale, ended = set(answer["stale"]), time.monotonic()
        assert answer["ids"] == [len(jobs) - len(stale)], (answer, len(jobs))
        for ack in acks:
            ack.outcome, ack.ended = ("stale" if ack.id in stale else "ok"), ended
        self.done += len(jobs) - len(stale)

    def acknowledge(self, client: LineClient, jobs: list[Delivery]) -> None:
        """One ACK each, all of them sent before the first answer is read."""
        acks = [self._begin(job) for job in jobs]
        client.send_raw(b"".join(line("ACK", id=job.id, token=job.token) for job in jobs))
        for ack in acks:
            answer = client.receive()
            ack.ended = time.monotonic()
            ack.outcome = _outcome(answer)
            self.done += ack.outcome == "ok"

    def _begin(self, job: Delivery) -> Ack:
        ack = Ack(job.id, job.token, time.monotonic())
        self.history.acks.append(ack)
        return ack

    def _batch(self, client: LineClient, jobs: list[Delivery]) -> None:
        self.acknowledge_batch(client, jobs)

    def _single(self, client: LineClient, jobs: list[Delivery]) -> None:
        self.acknowledge(client, jobs)

    def _failing(self, client: LineClient, jobs: list[Delivery]) -> None:
        """Every fifth fails; its token must be worth nothing afterwards."""
        failing, fine = jobs[::5], [job for n, job in enumerate(jobs) if n % 5]
        fails = [Fail(job.id) for job in failing]
        self.history.fails += fails
        client.send_raw(b"".join(line("FAIL", id=job.id, token=job.token, error="x") for job in failing))
        for fail in fails:
            answer = client.receive()
            assert answer["ok"] or answer["code"] == "stale_attempt", answer
            fail.outcome = "ok" if answer["ok"] else "stale"
        if fine:
            self.acknowledge_batch(client, fine)
        for job in failing[:3]:
            answer = client.ask("ACK", id=job.id, token=job.token)
            assert answer.get("code") in ("stale_attempt", "not_found"), (job, answer)

    def _late(self, client: LineClient, jobs: list[Delivery]) -> None:
        """Some at once, some when others have come and the server may have been killed, some twice."""
        now = 0 if len(jobs) < 5 and len(self._old) < 50 else self.random.randrange(len(jobs) + 1)
        self._old.extend(jobs[now:])
        if now:
            self.acknowledge(client, jobs[:now])
            self._old.extend(jobs[: min(now, 5)])
        if len(self._old) > 400:
            self.acknowledge(client, [self._old.popleft() for _ in range(300)])


class Watcher(Client):
    """Looks at the queues, again and again.

    Attributes:
        pending: jobs that wait to be worked on.
    """

    pending = 0

    def work(self, client: LineClient) -> None:
        """One look."""
        queues = client.ok("LISTQUEUES")["queues"]
        self.pending = sum(queue["pending"] for queue in queues)
        for queue in queues:
            if queue["name"] == LIMITED:
                self.history.most_active = max(self.history.most_active, queue["processing"])
        self._stop_asked.wait(0.01)


def _outcome(answer: Answer) -> str:
    if answer["ok"]:
        return "already" if answer.get("already") else "ok"
    code = answer["code"]
    assert code in ("stale_attempt", "not_found"), answer
    return "stale" if code == "stale_attempt" else "missing"


class Crowd:
    """All clients of a run: a third of them over TCP, a third over the Unix socket, a third over HTTP."""

    def __init__(
        self, server: ServerProcess, seed: int, doors: Sequence[Callable[[], LineClient]] | None = None
    ) -> None:
        """Args: ``doors``: the three ways in; None: with clients that expect no error of the server."""
        self._server = server
        if doors is None:
            doors = (server.client, server.unix_client, lambda: WebClient(server.http_port))
        self.watcher = Watcher(doors[0], seed + 20, lambda: 0)
        self.workers = [
            Worker(kind, doors[n % 3], seed + n)
            for n, kind in enumerate(("batch", "single", "failing", "late", "batch", "single"))
        ]
        self.producers = [
            Producer(kind, doors[n % 3], seed + 10 + n, lambda: self.watcher.pending)
            for n, kind in enumerate(("single", "batch", "keyed", "named", "batch", "named"))
        ]
        self.clients: list[Client] = [*self.workers, *self.producers, self.watcher]

    def history(self, *more: Client) -> History:
        """What everybody did."""
        return History.of_all(client.history for client in (*self.clients, *more))

    def done(self) -> int:
        """Jobs that were acknowledged so far."""
        return sum(worker.done for worker in self.workers)


@contextmanager
def at_work(clients: Sequence[Client]) -> Iterator[None]:
    """They work as long as this is entered. However it is left they stop: nobody is to be asked by them later.

    Raises:
        BaseException: what ended one of them before.
    """
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join(30)
    for client in clients:
        assert not client.is_alive(), f"{client} hangs"
    look_for_trouble(clients)


def look_for_trouble(clients: Sequence[Client]) -> None:
    """Raise what ended a client before its time."""
    for client in clients:
        if client.trouble is not None:
            raise client.trouble


def drain(server: ServerProcess) -> Worker:
    """Finish everything that is left. Returns the worker that did."""
    worker = Worker("batch", server.client, 1_000)
    with server.client() as client:
        for queue in QUEUES:
            while jobs := worker.pull(client, queue, 5_000):
                worker.acknowledge_batch(client, jobs)
        left: dict[str, Any] = client.ok("STATS")
        left.pop("completed")
        assert not any(left.values()), f"not everything could be drained: {left}"
    return worker


def histories(server: ServerProcess, ids: Sequence[int]) -> dict[int, list[Entry]]:
    """What the server says happened to these jobs."""
    found: dict[int, list[Entry]] = {}
    with server.client() as client:
        for first in range(0, len(ids), WINDOW):
            window = ids[first : first + WINDOW]
            client.send_raw(b"".join(line("HISTORY", id=id) for id in window))
            for id in window:
                answer = client.receive()
                assert answer["ok"], answer
                assert not answer["truncated"]
                found[id] = [Entry(entry["event"], entry["attempt"], entry["detail"]) for entry in answer["history"]]
    return found


def waits(seed: int, least_s: float, most_s: float) -> Iterator[float]:
    """Random times, the same for the same seed."""
    dice = random.Random(seed)
    while True:
        yield dice.uniform(least_s, most_s)


def set_limit(server: ServerProcess) -> None:
    """Brake the limited queue."""
    with suppress(EndOfAnswers), server.client() as client:
        client.ok("SETCONCURRENCY", queue=LIMITED, limit=LIMIT)
