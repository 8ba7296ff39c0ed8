"""The load generator counts right, notices refusals, and is not put out by answers that come in pieces."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from benchmarks.load import Repeat, Stream, Work, ask, check_ok, check_sample, push_batch_line, push_line, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st

PUSHED = b'{"ok":true,"id":7}\n'


class Peer:
    """A connection whose other end is in the test's hand."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.far.setblocking(False)

    def sent(self) -> bytes:
        """What the lane has sent since the last time."""
        data = b""
        while True:
            try:
                data += self.far.recv(1 << 20)
            except BlockingIOError:
                return data


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A peer whose sockets are closed in the end."""
    one = Peer()
    yield one
    one.near.close()
    one.far.close()


def jobs_answer(first: int, last: int, token: str = "1.2.ab") -> bytes:
    """The answer to a PULLB."""
    jobs = b",".join(
        b'{"id":%d,"queue":"q","data":1,"token":"%b"}' % (id, token.encode()) for id in range(first, last + 1)
    )
    return b'{"ok":true,"jobs":[%b]}\n' % jobs


def test_repeat_sends_the_next_line_when_the_answer_is_whole(peer: Peer) -> None:
    """One command at a time means one: nothing is sent on half an answer."""
    lane = Repeat(peer.near, b"line\n", 2)
    lane.begin()
    assert not lane.received(PUSHED[:12])
    assert peer.sent() == b"line\n"
    assert not lane.received(PUSHED[12:])
    assert peer.sent() == b"line\n"
    assert lane.received(PUSHED)
    assert peer.sent() == b""


def test_repeat_notices_a_refusal(peer: Peer) -> None:
    """A refused push must not be counted as a fast one."""
    lane = Repeat(peer.near, b"line\n", 2)
    lane.begin()
    with pytest.raises(RuntimeError, match="unexpected answer"):
        lane.received(b'{"ok":false,"error":"full"}\n')


def test_stream_keeps_to_its_window(peer: Peer) -> None:
    """No more commands are on their way than the window allows, and all are sent in the end."""
    lane = Stream(peer.near, b"x\n", 2_000, window=1_000)
    lane.begin()
    assert peer.sent().count(b"\n") == 1_000
    lane.received(PUSHED * 499)
    assert peer.sent() == b""
    lane.received(PUSHED)
    assert peer.sent().count(b"\n") == 500
    assert not lane.received(PUSHED * 1_000)
    assert peer.sent().count(b"\n") == 500
    assert lane.received(PUSHED * 500)


@settings(max_examples=50)
@given(st.lists(st.integers(0, len(PUSHED) * 10), max_size=12))
def test_stream_counts_the_same_however_the_answers_are_cut(cuts: list[int]) -> None:
    """Answers come in any pieces; each is counted once, and each ok is seen."""
    near, far = socket.socketpair()
    with near, far:
        lane = Stream(near, b"x\n", 10)
        lane.begin()
        places = sorted({0, *cuts, len(PUSHED) * 10})
        whole = PUSHED * 10
        ends = [lane.received(whole[a:b]) for a, b in pairwise(places)]
    assert ends[-1]
    assert not any(ends[:-1])


def test_stream_notices_a_refusal_among_many(peer: Peer) -> None:
    """One refused command of many fails the measurement."""
    lane = Stream(peer.near, b"x\n", 10)
    lane.begin()
    with pytest.raises(RuntimeError, match="1 of 10 commands were refused"):
        lane.received(PUSHED * 4 + b'{"ok":false,"error":"no"}\n' + PUSHED * 5)


def test_work_acknowledges_what_it_pulled_and_pulls_again(peer: Peer) -> None:
    """A worker's write holds the ack of its batch, fenced by its token, and the next pull."""
    lane = Work(peer.near, b"q", 3, [b"%d" % id for id in range(20)])
    lane.begin()
    pull = peer.sent()
    assert pull == b'{"cmd":"PULLB","queue":"q","count":3,"timeout":0}\n'
    answer = jobs_answer(9, 11)
    assert not lane.received(answer[:50])
    assert not lane.received(answer[50:])
    ack = b'{"cmd":"ACKB","ids":[9,10,11],"tokens":["1.2.ab","1.2.ab","1.2.ab"]}\n'
    assert peer.sent() == ack + pull
    assert not lane.received(b'{"ok":true,"ids":[3],"stale":[]}\n')
    assert lane.received(b'{"ok":true,"jobs":[]}\n')
    assert lane.done == 3


def test_work_notices_an_ack_that_did_not_count(peer: Peer) -> None:
    """Jobs whose ack was refused are not jobs done."""
    lane = Work(peer.near, b"q", 2, [b"%d" % id for id in range(20)])
    lane.begin()
    lane.received(jobs_answer(1, 2))
    with pytest.raises(RuntimeError, match="2 jobs were acknowledged"):
        lane.received(b'{"ok":true,"ids":[1],"stale":[2]}\n{"ok":true,"jobs":[]}\n')


def test_a_sample_must_be_one_run_under_one_token() -> None:
    """What the worker lane takes for granted is checked, not hoped for."""
    check_sample(jobs_answer(4, 6))
    gap = jobs_answer(4, 6).replace(b'"id":5', b'"id":15')
    with pytest.raises(RuntimeError, match="not one run"):
        check_sample(gap)


def test_lines_are_the_commands_they_claim_to_be() -> None:
    """The prepared lines are what the protocol knows."""
    assert push_line(b"q", b"1") == b'{"cmd":"PUSH","queue":"q","data":1}\n'
    assert push_batch_line(b"q", b"1", 2) == b'{"cmd":"PUSHB","queue":"q","jobs":[{"data":1},{"data":1}]}\n'


def test_asking_reads_one_whole_line(peer: Peer) -> None:
    """A command of the set-up waits for its own answer, and stops at a refusal."""
    peer.far.setblocking(True)
    peer.far.sendall(PUSHED)
    assert ask(peer.near, b"PING") == PUSHED
    peer.far.sendall(PUSHED * 3)
    assert read_lines(peer.near, 3) == PUSHED * 3
    with pytest.raises(RuntimeError, match="refused"):
        check_ok(b'{"ok":false}')
