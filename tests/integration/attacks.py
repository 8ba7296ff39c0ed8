"""Clients that mean no good, each kind bounded in number and time, in a process of their own.

``python -m tests.integration.attacks KIND PORT HTTP_PORT SECONDS`` says "attacking" once it has begun.
"""

import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import LineClient, line

MIB: Final = 1024 * 1024


def never_reads(port: int) -> Iterator[None]:
    """Asks for a megabyte a hundred thousand times over and reads none of it."""
    client = LineClient(("127.0.0.1", port))
    id = client.ok("PUSH", queue="big", data="x" * 1_000_000, delay=3_600_000)["id"]
    deaf = [_connect(port) for _ in range(5)]
    asked = line("GETJOB", id=id) * 2_000
    while True:
        for one in deaf:
            _send_some(one, asked)
        yield
        time.sleep(0.002)


def dribbles(port: int) -> Iterator[None]:
    """Two hundred clients, one byte at a time, and the end of a line never comes."""
    slow = [_connect(port) for _ in range(200)]
    while True:
        for one in slow:
            _send_some(one, b"x")
        yield
        time.sleep(0.01)


def endless_lines(port: int) -> Iterator[None]:
    """Twenty lines of more than 16 MiB at the same time, again and again."""
    while True:
        crowd = [_connect(port) for _ in range(20)]
        left = [17 * MIB] * len(crowd)
        while any(count > 0 for count in left):
            for number, one in enumerate(crowd):
                if left[number] > 0:
                    sent = _send_some(one, b"x" * min(left[number], 256 * 1024))
                    left[number] = 0 if sent < 0 else left[number] - sent
            yield
        for one in crowd:
            one.close()


def idles(port: int) -> Iterator[None]:
    """Five hundred clients that say nothing at all, and a few that keep trying."""
    crowd = [_connect(port) for _ in range(500)]
    while True:
        _connect(port).close()
        yield
        time.sleep(0.01)
        assert crowd


def vanishes(port: int) -> Iterator[None]:
    """Connects, asks, waits, listens, and is gone without a word."""
    number = 0
    while True:
        number += 1
        client = LineClient(("127.0.0.1", port))
        client.send_raw(
            line("SUBSCRIBE", queue="*", events=[])
            + line("HELLO", worker=f"gone-{number % 50}")
            + line("PUSH", queue="gone", data=number, ttl=1_000)
            + line("PULL", queue="gone")
            + line("PULL", queue="nothing", reqId="r") * 20
            + b'{"cmd":"PUSH","queue'
        )
        client.vanish()
        yield
        time.sleep(0.001)


def nonsense(port: int) -> Iterator[None]:
    """Lines that are costly to understand and mean nothing: deep, long, broken."""
    client = _connect(port)
    lines = (
        b"[" * 200_000,
        b'{"cmd":"PUSH","queue":"q","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"cmd":"PUSHB","queue":"q","jobs":[' + b'{"data":1},' * 20_000 + b"{}]}",
        b'{"cmd":"PUSH","queue":"q","data":"' + b"\\u0041" * 30_000,
        b'{"cmd":"PUSH","queue":"' + b"q" * 200_000 + b'","data":1}',
        b'{"cmd":"PUSH","queue":"q","data":' + b"9" * 200_000 + b',"priority":"x"}',
        b"\xff" * 100_000,
        b"\n" * 2_000,
    )
    while True:
        for one in lines:
            rest = memoryview(one + b"\n")
            while rest:
                sent = _send_some(client, rest)
                rest = rest[max(sent, 0) :]
                _read_some(client)
        yield
        time.sleep(0.02)


def short_lines(port: int) -> Iterator[None]:
    """As many lines as a read can hold, each of them wrong."""
    client = _connect(port)
    lines = b"x\n" * (MIB // 2)
    while True:
        _send_some(client, lines)
        _read_some(client)
        yield


def waits(port: int) -> Iterator[None]:
    """A hundred clients with a hundred and twenty-eight waiting pulls each, all of which time out again and again."""
    crowd = [_connect(port) for _ in range(100)]
    asked = b"".join(line("PULL", queue=f"wait-{n % 7}", reqId=str(n), timeout=400) for n in range(128))
    while True:
        for one in crowd:
            _send_some(one, asked)
            _read_some(one)
            yield
            time.sleep(0.005)


def web_never_reads(port: int) -> Iterator[None]:
    """Asks for a megabyte over HTTP, two thousand times in a row, and reads none of it."""
    maker = HttpClient(port)
    id = maker.ok("POST", "/queues/big/jobs", {"data": "x" * 1_000_000, "delay": 3_600_000})["id"]
    deaf = [_connect(port) for _ in range(20)]
    asked = b"GET /jobs/%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % id * 2_000
    while True:
        for one in deaf:
            _send_some(one, asked)
        yield
        time.sleep(0.002)


def web_dribbles(port: int) -> Iterator[None]:
    """Two hundred clients, a header one byte at a time, and its end never comes; who is cut off comes again."""
    slow = [_connect(port) for _ in range(200)]
    while True:
        for number, one in enumerate(slow):
            if _send_some(one, b"G" if not number % 50 else b"x") < 0:
                one.close()
                slow[number] = _connect(port)
        yield
        time.sleep(0.01)


def web_bodies(port: int) -> Iterator[None]:
    """Twenty bodies without an end at the same time, again and again."""
    head = b"POST /queues/q/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (256 * 1024, b" " * 256 * 1024)
    while True:
        crowd = [_connect(port) for _ in range(20)]
        for one in crowd:
            _send_some(one, head)
        rest = [memoryview(chunk * 70) for _ in crowd]
        while any(rest):
            for number, one in enumerate(crowd):
                if rest[number]:
                    sent = _send_some(one, rest[number][: 256 * 1024])
                    rest[number] = memoryview(b"") if sent < 0 else rest[number][sent:]
            yield
        for one in crowd:
            one.close()


def web_vanishes(port: int) -> Iterator[None]:
    """Connects, pushes, waits for a job, and is gone without a word."""
    body = b'{"data":1,"ttl":1000}'
    push = b"POST /queues/gone/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    pull = b"GET /queues/%b/jobs?timeout=60000 HTTP/1.1\r\nhost: localhost\r\n\r\n"
    number = 0
    while True:
        number += 1
        client = LineClient(("127.0.0.1", port))
        client.send_raw(push + pull % (b"gone" if number % 2 else b"nothing"))
        client.vanish()
        yield
        time.sleep(0.001)


def web_streams(port: int) -> Iterator[None]:
    """A hundred listeners that never read, while thousands of events are told."""
    deaf = [_connect(port) for _ in range(100)]
    for one in deaf:
        _send_some(one, b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
    busy = HttpClient(port)
    jobs = {"jobs": [{"data": "x" * 500, "ttl": 1}] * 100}
    while True:
        busy.ok("POST", "/queues/noise/jobs/batch", jobs)
        yield
        time.sleep(0.02)


def web_headers(port: int) -> Iterator[None]:
    """Twenty clients with heads of the shortest headers there are, fifty thousand of them."""
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"a:b\r\n" * 50_000 + b"\r\n"
    return _again_and_again(port, b"", head, 20)


def web_chunks(port: int) -> Iterator[None]:
    """Twenty clients with bodies of the shortest chunks there are."""
    head = b"POST /queues/q/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    return _again_and_again(port, b"", head + b"1\r\nx\r\n" * 170_000 + b"0\r\n\r\n", 20)


def web_pings(port: int) -> Iterator[None]:
    """Ten WebSockets that send the shortest pings there are, and read none of the answers."""
    hello = (
        b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    return _again_and_again(port, hello, b"\x89\x80\0\0\0\0" * (MIB // 6), 10)


def _again_and_again(port: int, hello: bytes, data: bytes, clients: int) -> Iterator[None]:
    """Clients that send the same over and over; who is cut off comes again."""
    crowd: list[tuple[socket.socket, memoryview]] = []
    while True:
        while len(crowd) < clients:
            one = _connect(port)
            _send_some(one, hello)
            if hello:
                select.select([one], [], [], 1)  # what is sent too early is not heard
            crowd.append((one, memoryview(data)))
        one, rest = crowd.pop(0)
        sent = _send_some(one, rest[: 256 * 1024])
        if sent < 0:
            one.close()
        else:
            crowd.append((one, rest[sent:] or memoryview(data)))
        if not hello:
            _read_some(one)
        yield


LINES: Final = (never_reads, dribbles, endless_lines, idles, vanishes, nonsense, short_lines, waits)
WEB: Final = (
    *(web_never_reads, web_dribbles, web_bodies, web_vanishes, web_streams),
    *(web_headers, web_chunks, web_pings),
)
KINDS: Final[dict[str, Callable[[int], Iterator[None]]]] = {attack.__name__: attack for attack in (*LINES, *WEB)}


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    return connection


def _send_some(connection: socket.socket, data: bytes | memoryview) -> int:
    """As much as fits; -1 when the server has had enough."""
    try:
        return connection.send(data)
    except BlockingIOError:
        select.select([], [connection], [], 0.001)
        return 0
    except OSError:
        return -1


def _read_some(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.recv(MIB)


def main(kind: str, port: int, http_port: int, seconds: float) -> None:
    """Attack for so long."""
    end = time.monotonic() + seconds
    attack = KINDS[kind](http_port if KINDS[kind] in WEB else port)
    next(attack)
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    while time.monotonic() < end:
        next(attack)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
