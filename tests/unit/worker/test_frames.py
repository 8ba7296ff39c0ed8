"""Frames between a worker and its children: what is said arrives, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.tasks.outcome import Done, Failed, Gone, Snoozed
from flashq.worker import frames
from flashq.worker.frames import (
    Broken,
    BrokenFrame,
    Cancel,
    Down,
    Ended,
    Frames,
    Heartbeat,
    Logged,
    Progress,
    Ready,
    Run,
    Stop,
    Up,
    frame,
)

DOWN: list[Down] = [Run(b'{"id":1}'), Cancel(7, "cancelled"), Stop()]
UP: list[Up] = [
    Ready(),
    Broken("there is no app"),
    Ended(Done(b"[1]")),
    Ended(Done(None), "2 jobs"),
    Ended(Failed("no", delay=5, dead=True)),
    Ended(Snoozed(9)),
    Ended(Gone()),
    Progress(1, 40, None),
    Progress(1, 41, "half"),
    Heartbeat(2),
    Logged("shop", 20, "sold", {"job": 1, "ok": True, "none": None, "share": 0.5, "who": "x"}, "Traceback"),
]


@given(cuts=st.lists(st.integers(1, 50), min_size=1))
def test_however_it_is_cut(cuts: list[int]) -> None:
    """Everything that can be said comes out as it went in, whole and in order."""
    for said, kind in ((DOWN, Down), (UP, Up)):
        data = b"".join(frame(each) for each in said)
        reader: Frames[object] = Frames(kind)
        heard: list[object] = []
        place = 0
        while place < len(data):
            step = cuts[place % len(cuts)]
            heard += reader.feed(data[place : place + step])
            place += step
        assert heard == said


@pytest.mark.parametrize("data", [b"\0\0\0\1\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", frame(Stop())])
def test_nonsense_is_refused(data: bytes) -> None:
    """What is no frame, is endless, or is not for this side to hear, is told as such."""
    with pytest.raises(BrokenFrame):
        Frames[Up](Up).feed(data)


def test_a_frame_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other side would refuse is not sent."""
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", len(frame(Run(b"12345"))) - 4)
    frame(Run(b"12345"))
    with pytest.raises(BrokenFrame, match=r"a frame of \d+ bytes \(max \d+\)"):
        frame(Run(b"123456"))
