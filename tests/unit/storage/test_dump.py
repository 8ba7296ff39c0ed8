"""Lines hold all that a storage remembers, mean the same to whoever reads them, and tell when some are missing."""

import io
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.conformance.storage import seen
from tests.fakes.kept import busy_life
from tests.unit.engine.bench import Bench
from tests.unit.engine.stories import SMALL, STORIES, TELL, Step, Teller

from flashq.engine.records import (
    Actor,
    CallRow,
    CronRow,
    Happened,
    JobRow,
    Operated,
    QueueRow,
    Snapshot,
    WebhookRow,
)
from flashq.engine.trail import Audited
from flashq.errors import StorageError
from flashq.model import WAITING
from flashq.storage import dump
from flashq.storage.dump import BadDump, Dropped, Reader, Thing, lines_of

TRAIL: list[Audited] = [
    Happened(5, "pushed", "ä", [1, 3, 9, 1], Actor("ada", "127.0.0.1", "tcp")),
    Operated(6, "PAUSE", Actor("ä"), "emails", '{"x":1}'),
]


def export(snapshot: Snapshot, trail: Iterable[Audited] = ()) -> bytes:
    """The whole export."""
    return b"".join(lines_of(snapshot, trail, flashq="1", storage="sqlite", now=5))


def read(text: bytes) -> list[Thing]:
    """What its lines say."""
    return list(Reader(io.BytesIO(text)).things())


def put_together(text: bytes) -> Snapshot:
    """A snapshot out of the lines."""
    reader = Reader(io.BytesIO(text))
    things = list(reader.things())
    header = reader.header
    return Snapshot(
        header.next_id,
        header.epoch,
        header.completions,
        [thing for thing in things if isinstance(thing, JobRow)],
        [thing for thing in things if isinstance(thing, QueueRow)],
        [thing for thing in things if isinstance(thing, CronRow)],
        [id for thing in things if isinstance(thing, Dropped) for id in thing.ids],
        [thing for thing in things if isinstance(thing, WebhookRow)],
        [thing for thing in things if isinstance(thing, CallRow)],
    )


def life() -> Snapshot:
    """Something of everything, as storage gives it."""
    snapshot = busy_life().memory.snapshot(3)
    snapshot.queues.sort(key=lambda row: row.name)
    return snapshot


@TELL
@given(STORIES)
def test_everything_comes_back(story: list[Step]) -> None:
    """Whatever clients have done, the lines say all that is remembered of it, and writing them again gives the same."""
    bench = Bench(**SMALL)
    teller = Teller(bench)
    for step in story:
        teller.tell(step)
    text = export(bench.memory.snapshot(3))
    expected = bench.memory.snapshot(3)
    expected.queues.sort(key=lambda row: row.name)
    expected.crons.sort(key=lambda row: row.name)
    assert seen(put_together(text)) == seen(expected)
    assert export(put_together(text)) == text


def test_all_kinds_come_back() -> None:
    """Webhooks, what is owed to them, collected results and history too."""
    text = export(life(), TRAIL)
    assert seen(put_together(text)) == seen(life())
    single = [structs.replace(TRAIL[0], runs=[1, 3]), structs.replace(TRAIL[0], runs=[9, 1]), TRAIL[1]]
    assert [thing for thing in read(text) if isinstance(thing, Happened | Operated)] == single


def test_a_program_without_ours_can_read_it() -> None:
    """Each line is one JSON object that says what it is."""
    lines = [json.loads(line) for line in export(life(), TRAIL).splitlines()]
    kinds = list(dict.fromkeys(line["kind"] for line in lines))
    assert kinds == [
        "flashq-export", "queue", "cron", "webhook", "call", "dropped", "job", "happened", "operated", "end"
    ]  # fmt: skip
    assert lines[-1]["lines"] == len(lines) - 1
    assert next(line for line in lines if line["kind"] == "job")["data"] == {"n": 1}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from([None, 1]),
)
def test_payloads_mean_the_same(value: object, indent: int | None) -> None:
    """However they were written, over several lines too."""
    data = json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    row = JobRow(1, "q", WAITING, 0, 1, 1, 0, 0, 3, 0, 0, 0, data, result=data, inputs=[(1, data)])
    (found,) = read(export(Snapshot(2, 1, 0, [row], [], [], [])))
    assert isinstance(found, JobRow)
    assert json.loads(found.data) == json.loads(found.result or b"") == value
    assert len(found.data) == len(data)
    if indent is None:
        assert found == row


@pytest.mark.parametrize("result", [None, b"null", b"0", b'""'])
def test_no_result_is_not_a_result_of_nothing(result: bytes | None) -> None:
    """``null`` is what an attempt may return."""
    row = JobRow(1, "q", WAITING, 0, 1, 1, 0, 0, 3, 0, 0, 0, b"null", result=result)
    assert read(export(Snapshot(2, 1, 0, [row], [], [], []))) == [row]


def test_many_dropped_ids_are_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line grows with the memory of a storage."""
    monkeypatch.setattr(dump, "DROPPED_PER_LINE", 2)
    found = read(export(Snapshot(9, 1, 0, [], [], [], [3, 1, 2])))
    assert found == [Dropped([3, 1]), Dropped([2])]


def test_half_an_import_is_not_exported() -> None:
    """What is not whole must not look as if it were."""
    snapshot = life()
    snapshot.importing = "x 5"
    with pytest.raises(StorageError, match="broken off"):
        export(snapshot)


def test_every_cut_is_noticed() -> None:
    """Between two lines or within one: what comes before it is read, and then the reader says so."""
    text = export(busy_life().memory.snapshot(3))
    ends = [*range(0, len(text) - 1, 97), text.rindex(b'{"kind":"end"')]
    for end in ends:
        with pytest.raises(BadDump):
            read(text[:end])


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_every_altered_byte_is_noticed(place: int, bits: int) -> None:
    """Wherever it is, also where the line still makes sense."""
    text = bytearray(_TEXT)
    text[place % len(text)] ^= bits
    with pytest.raises(BadDump):
        read(bytes(text))


_TEXT = export(life(), TRAIL)
_LINES = _TEXT.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "line 1 is missing or cut short"),
        (b"hello\n", "line 1: "),
        (_LINES[1] + _LINES[0], "line 1: not the beginning of an export"),
        (_LINES[0] + _LINES[0], "line 2: a second header"),
        (_LINES[0] + b'{"kind":"party"}\n', "line 2: Invalid value 'party'"),
        (_LINES[0] + b'{"kind":"dropped","ids":[1],"more":2}\n', "line 2: Object contains unknown field `more`"),
        (_LINES[0] + b'{"kind":"dropped","ids":["1"]}\n', "line 2: Expected `int`"),
        (_LINES[0] + b"[" * 100_000 + b"\n", "line 2: "),
        (b"".join(_LINES[:3] + _LINES[4:]), "counts .* lines, there are"),
        (b"".join([*_LINES[:2], _LINES[3], _LINES[2], *_LINES[4:]]), "checksum is wrong"),
        (_TEXT + b"\n", "something comes after"),
        (_LINES[0].replace(b'"version":1', b'"version":2'), "has version 2, this program knows 1"),
    ],
)
def test_what_is_no_export(text: bytes, sentence: str) -> None:
    """The sentence says where it ends to be one."""
    with pytest.raises(BadDump, match=sentence):
        read(text)


def test_a_line_has_a_longest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends does not fill the memory."""
    monkeypatch.setattr(dump, "MAX_LINE_BYTES", 100)
    with pytest.raises(BadDump, match="line 1 has more than 100 bytes"):
        read(b"x" * 1_000)


def test_two_exports_have_two_names() -> None:
    """An import knows whether it goes on with the same one."""
    later = b"".join(lines_of(life(), [], flashq="1", storage="sqlite", now=6))
    assert Reader(io.BytesIO(_TEXT)).name == Reader(io.BytesIO(_TEXT)).name != Reader(io.BytesIO(later)).name
