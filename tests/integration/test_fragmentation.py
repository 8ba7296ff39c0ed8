"""However a session is cut into pieces, the answers are the same.

The session is played whole once; then cut at every byte, at sampled pairs of bytes, byte by byte, and with other ends
of lines. All of it against one connection object with a transport of the test's making, which is exact and fast; a
sample of it over real sockets.
"""

import json
import random
import socket
from typing import Any, Final

import pytest
from tests.conformance.doors import Door
from tests.fakes.server_process import line
from tests.unit.transports.bench import Bench

Answer = dict[str, Any]


def session(queue: str) -> list[bytes]:
    """Sixty commands of every kind, with refusals, reqIds, waiting pulls and payloads of all sorts."""
    push = line("PUSH", queue=queue, data={"text": "ü€😀", "n": [1, 2.50, None]})
    commands = [
        line("PING"),
        push,
        push,
        line("PUSH", queue=queue, data=1, unique_key="k"),
        line("PUSH", queue=queue, data=2, unique_key="k"),
        line("PUSH", queue=queue, data=3, job_id=f"{queue}-c"),
        line("PUSH", queue=queue, data=3, job_id=f"{queue}-c", reqId="again"),
        line("PUSHB", queue=queue, jobs=[{"data": n, "priority": n} for n in range(5)]),
        line("PUSHB", queue=queue, jobs=[{"data": 1}, {}]),
        b"\n",
        b"nonsense\n",
        b'{"cmd":"PUSH","queue":"%b","data":"\\u00e9\\n\\"]["}\n' % queue.encode(),
        b'{"cmd":"PUSH","queue":"%b","data":"\xff"}\n' % queue.encode(),
        "größe".encode() + b"\n",
        line("GETSTATE", id=0),
        line("PULL", queue=queue),
        line("PULL", queue=queue, reqId="p"),
        line("PULLB", queue=queue, count=3),
        line("PULL", queue=f"{queue}-empty", timeout=0),
        line("PULL", queue=f"{queue}-empty"),
        line("PING"),
        line("PULL", queue=f"{queue}-empty"),
        line("PULLB", queue=f"{queue}-empty", count=2),
        line("PING", reqId="in between"),
        line("STATS", reqId=""),
        line("GETJOBBYCUSTOMID", job_id="nobody"),
        line("PAUSE", queue=queue),
        line("PULL", queue=queue, timeout=0),
        line("RESUME", queue=queue),
        line("SETCONCURRENCY", queue=queue, limit=100),
        line("RATELIMIT", queue=queue, limit=0),
        line("CLEARCONCURRENCY", queue=queue),
        line("CRON", name=f"{queue}-cron", queue=queue, schedule="0 0 1 1 *", data="ü"),
        line("CRONDELETE", name=f"{queue}-cron"),
        line("CRONDELETE", name=f"{queue}-cron"),
        line("HELLO", worker=f"{queue}-w", queues=[queue]),
        line("BEAT", worker=f"{queue}-w"),
        line("PULL", queue=queue),
        line("BYE", worker=f"{queue}-w"),
        line("DLQ", queue=queue),
        line("RETRYDLQ", queue=queue),
        line("PURGEDLQ", queue=queue),
        line("AUTH", token="ü"),
        line("ACK", id=0),
        line("FAIL", id=0, error="€" * 20, token="x"),
        line("CANCEL", id=0),
        line("PROGRESS", id=0, progress=5),
        line("GETPROGRESS", id=0),
        line("HEARTBEAT", id=0),
        line("GETRESULT", id=0),
        line("ACKB", ids=[0, 0], tokens=["a", "b"]),
        line("ACKB", ids=[0], tokens=[]),
        line("PUSH", queue="a b", data=1),
        line("PUSH", queue=queue, data=1.5, priority="1", reqId="bad"),
        line("UNSUBSCRIBE", queue="*"),
        line("SUBSCRIBE", queue="*", events=["no such"]),
        line("PULLB", queue=queue, count=100, timeout=0),
        line("PULL", queue=queue, timeout=0),
        line("NONSENSE", reqId="unknown"),
        line("PING"),
    ]
    assert len(commands) == 60
    return commands


def comparable(answers: list[Answer]) -> list[Answer]:
    """Answers without what differs from run to run: times, tokens, and ids counted from the first."""
    first = next((answer["id"] for answer in answers if answer.get("ok") and "id" in answer), 0)
    text = json.dumps(answers)
    found: list[Answer] = json.loads(text, object_hook=lambda members: _without(members, first))
    return found


def _without(members: Answer, first: int) -> Answer:
    for name in ("created_at", "run_at", "started_at", "token", "queued", "processing", "completed"):
        members.pop(name, None)
    members.pop("delayed", None), members.pop("dlq", None), members.pop("waiting_children", None)
    if isinstance(members.get("id"), int) and members["id"] >= first > 0:
        members["id"] -= first
    if isinstance(members.get("ids"), list):
        members["ids"] = [id - first if id >= first > 0 else id for id in members["ids"]]
    return members


async def play(pieces: list[bytes], *, lazy: bool = False) -> list[Answer]:
    """The answers to a session that comes in these pieces, on a fresh server without a socket."""
    bench = Bench(lazy=lazy)
    line = bench.connect()
    for piece in pieces:
        line.feed(piece)
        if lazy:
            bench.turns.sync()
    return comparable(line.answers())


QUEUE: Final = "the-queue"


@pytest.fixture
async def whole() -> list[Answer]:
    """What the session answers in one piece."""
    answers = await play([b"".join(session(QUEUE))])
    assert len(answers) == 60
    assert len({json.dumps(answer) for answer in answers}) >= 35
    return answers


@pytest.mark.slow
async def test_cut_at_every_byte(whole: list[Answer]) -> None:
    """Two pieces, at each of some four thousand places."""
    data = b"".join(session(QUEUE))
    for cut in range(1, len(data)):
        assert await play([data[:cut], data[cut:]]) == whole, cut


async def test_cut_at_two_bytes(whole: list[Answer]) -> None:
    """Three pieces, at sampled pairs of places, pairs that are close to each other among them."""
    data = b"".join(session(QUEUE))
    dice = random.Random(7)
    for _ in range(600):
        first = dice.randrange(1, len(data))
        second = dice.choice((dice.randrange(1, len(data)), min(len(data), first + dice.randrange(1, 4))))
        one, other = sorted((first, second))
        assert await play([data[:one], data[one:other], data[other:]]) == whole, (one, other)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1_000])
@pytest.mark.parametrize("lazy", [False, True])
async def test_dribbled(whole: list[Answer], size: int, lazy: bool) -> None:
    """Pieces of one size, down to single bytes, with and without a disk to wait for."""
    data = b"".join(session(QUEUE))
    assert await play([data[at : at + size] for at in range(0, len(data), size)], lazy=lazy) == whole


async def test_a_line_at_a_time(whole: list[Answer]) -> None:
    """One command, one piece: as a client does that waits for each answer."""
    assert await play(session(QUEUE)) == whole


@pytest.mark.parametrize("end", [b"\r\n", b" \n", b"\t\r\n"])
async def test_other_ends_of_lines(whole: list[Answer], end: bytes) -> None:
    """With a carriage return or blanks before the end, whole and dribbled."""
    data = b"".join(command[:-1] + end for command in session(QUEUE))
    assert _without_reasons(await play([data])) == _without_reasons(whole)
    assert _without_reasons(await play([data[at : at + 3] for at in range(0, len(data), 3)])) == _without_reasons(whole)


def _without_reasons(answers: list[Answer]) -> list[Answer]:
    """Where in a line something is wrong depends on its end; that it is wrong does not."""
    return [{**answer, "error": "..."} if "error" in answer else answer for answer in answers]


def over_a_socket(door: Door, pieces: list[bytes], expected: int) -> list[Answer]:
    """The answers over a real connection, each piece a segment of its own."""
    client = door.client()
    if client.socket.family == socket.AF_INET:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        client.send_raw(piece)
    return comparable(client.receive_many(expected))


def _without_queue(answers: list[Answer], queue: str) -> list[Answer]:
    found: list[Answer] = json.loads(json.dumps(answers).replace(queue, QUEUE))
    return found


def _sorted_by_mark(answers: list[Answer]) -> list[Answer]:
    """Answers with a reqId may come early when the disk is slow for the others; all else keeps its order."""
    plain = [answer for answer in answers if "reqId" not in answer]
    marked = [answer for answer in answers if "reqId" in answer]
    return plain + sorted(marked, key=lambda answer: str(answer["reqId"]))


async def test_over_real_sockets(whole: list[Answer], door: Door) -> None:
    """Whole, by line, dribbled, and cut at sampled places: the same answers again."""
    dice = random.Random(11)
    cuts: list[list[int]] = [[], [1], *[[dice.randrange(1, 3_000)] for _ in range(40)]]
    cuts += [sorted(dice.sample(range(1, 3_000), 50)) for _ in range(5)]
    for places in cuts:
        queue = door.name("q").ljust(len(QUEUE), "x")  # refusals tell places in the line
        data = b"".join(session(queue))
        pieces = [data[at:to] for at, to in zip([0, *places], [*places, len(data)], strict=True)]
        answers = _without_queue(over_a_socket(door, pieces, 60), queue)
        assert _sorted_by_mark(answers) == _sorted_by_mark(whole), places


async def test_byte_by_byte_over_a_real_socket(whole: list[Answer], door: Door) -> None:
    """Every byte a send of its own."""
    queue = door.name("q").ljust(len(QUEUE), "x")
    data = b"".join(session(queue))
    answers = _without_queue(over_a_socket(door, [data[at : at + 1] for at in range(len(data))], 60), queue)
    assert _sorted_by_mark(answers) == _sorted_by_mark(whole)


async def test_ten_thousand_commands_in_pieces_of_64_kib(door: Door) -> None:
    """Large pieces that end anywhere: every command is answered once, in order."""
    queue = door.name("q")
    data = line("PUSH", queue=queue, data="x" * 50) * 10_000
    pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    ids = [answer["id"] for answer in over_a_socket(door, pieces, 10_000)]
    assert ids == list(range(10_000))
