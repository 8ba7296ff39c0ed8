"""Lines to requests, replies to lines: what is refused and how, and the exact bytes of every answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, structs

from flashq.errors import BY_CODE, BadRequest, Duplicate, FlashQError, NotFound, TooLarge
from flashq.model import (
    CronView,
    EndedAttempt,
    HistoryEntry,
    JobView,
    Metrics,
    Operation,
    QueueMetrics,
    QueueView,
    WebhookView,
    WorkerView,
)
from flashq.protocol import codec, replies, requests
from flashq.protocol.limits import MAX_DEPTH, MAX_JOB_BYTES, MAX_RESULT_BYTES
from flashq.reasons import Delayed, Explanation, Paused

# --- requests ---


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty line"),
        (b"  \t ", "empty line"),
        (b"nonsense", "JSON is malformed"),
        (b'{"cmd":"PING"', "Input data was truncated"),
        (b'{"cmd":"PING"} {}', "JSON is malformed: trailing characters"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "Object missing required field `cmd`"),
        (b'{"CMD":"PING"}', "Object missing required field `cmd`"),
        (b'{"cmd":"NOPE"}', "unknown command 'NOPE'"),
        (b'{"cmd":"ping"}', "unknown command 'ping'"),
        (b'{"cmd":7}', "Expected `str` - at `$.cmd`"),
        (b'{"cmd":null}', "Expected `str` - at `$.cmd`"),
        (b'{"cmd":"PUSH","queue":"q"}', "Object missing required field `data`"),
        (
            b'{"cmd":"PUSHB","queue":"q","jobs":[{"data":1},{}]}',
            "Object missing required field `data` - at `$.jobs[1]`",
        ),
        (b'{"cmd":"GETJOB","id":1.0}', "Expected `int`, got `float` - at `$.id`"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"cmd":"PUSH","queue":"q","data":"\xed\xa0\x80"}', "not UTF-8 at byte 34"),
        (b'\xef\xbb\xbf{"cmd":"PING"}', "JSON is malformed"),
    ],
)
def test_a_line_that_is_no_request(line: bytes, reason: str) -> None:
    """The sentence says what is wrong and where."""
    with pytest.raises(BadRequest) as caught:
        codec.decode_request(line)
    assert str(caught.value).startswith(f"Invalid: {reason}")


@pytest.mark.parametrize("line", [b'{"cmd":"%s"}', b'{"cmd":"PING","%s":}', b'{"cmd":"GETJOB","id":"%s"}', b"%s"])
def test_reasons_are_short(line: bytes) -> None:
    """Nobody gets his own megabyte back."""
    with pytest.raises(BadRequest) as caught:
        codec.decode_request(line % (b"x" * 5_000))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "payload",
    [
        b"01", b"1.", b".5", b"+1", b"-", b"1e", b"NaN", b"Infinity", b"tru", b"{a:1}", b"{'a':1}", b'{"a":1,}',
        b"[1,]", b"[1 2]",
        b'{"a"}', b'"\\x"', b'"\\u12"', b'"a', b'"\t"', b'"\x00"', b'"\\ud800"', b'{"a":[1,{"b":01}]}',
    ],
)  # fmt: skip
def test_payloads_must_be_json(payload: bytes) -> None:
    """Although they are never looked into: what is stored must be readable by everybody."""
    with pytest.raises(BadRequest):
        codec.decode_request(b'{"cmd":"PUSH","queue":"q","data":' + payload + b"}")


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_TEXT, st.booleans(), st.sampled_from([None, 1]))
def test_payloads_are_kept_byte_for_byte(value: Any, ascii: bool, indent: int | None) -> None:
    """White space, escapes, the order of members, numbers of any size: nothing is re-encoded on its way."""
    payload = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    request = codec.decode_request(b'{"queue":"q","data": %s ,"cmd":"PUSH"}' % payload)
    assert isinstance(request, requests.Push)
    assert bytes(request.data) == payload
    assert codec.encode(replies.Result(id=1, result=request.data)) == b'{"ok":true,"id":1,"result":%s}' % payload


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    """There is no third way out."""
    try:
        codec.decode_request(line)
    except BadRequest as error:
        assert str(error).startswith("Invalid: ")  # noqa: PT017  # most lines do not raise anything else


@pytest.mark.parametrize("depth", [1, 128, 500, 1_100, 5_000, 100_000])
def test_nesting_of_a_payload_is_bounded(depth: int) -> None:
    """128 is accepted everywhere, more than a thousand nowhere, however deep the interpreter itself can go."""
    line = b'{"cmd":"PUSH","queue":"q","data":%s}' % (b"[" * depth + b"]" * depth)
    if depth <= 500:
        codec.check_payload(bytes(codec.decode_request(line).data))  # type: ignore[union-attr]
        return
    with pytest.raises(BadRequest, match=rf"^Invalid: nested deeper than {MAX_DEPTH}$"):
        codec.check_payload(bytes(codec.decode_request(line).data))  # type: ignore[union-attr]


def test_nesting_of_what_is_ignored_is_bounded_too() -> None:
    """A member that nobody reads is skipped, and skipping goes as deep as it is nested."""
    line = b'{"cmd":"PING","ignored":%s}' % (b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(BadRequest, match=rf"^Invalid: nested deeper than {MAX_DEPTH}$"):
        codec.decode_request(line)


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        (b'{"cmd":"NOPE","reqId":"a"}', "a"),
        (b'{"reqId":"a","cmd":"GETJOB","id":"x"}', "a"),
        (b'{"cmd":"PING"}', None),
        (b'{"reqId":7}', None),
        (b'{"reqId":"a"', None),
        (b"\xff", None),
        (b'{"reqId":"\xff"}', None),
        (b"[1]", None),
        (b'{"x":' + b"[" * 5_000, None),
    ],
)
def test_the_mark_of_a_line_that_is_no_request(line: bytes, mark: str | None) -> None:
    """Even an error finds home when the line says where that is."""
    assert codec.request_mark(line) == mark


# --- payloads and results ---


def test_a_payload_may_be_as_large_as_the_limit() -> None:
    """Counted as compact JSON: white space between its parts does not count."""
    most = b'"' + b"x" * (MAX_JOB_BYTES - 2) + b'"'
    codec.check_payload(most)
    codec.check_payload(b" [ " + most[:-3] + b'"  ]')
    with pytest.raises(TooLarge, match=r"^Job data too large \(1048577 bytes, max 1048576 bytes\)$"):
        codec.check_payload(most[:-1] + b'x"')


def test_a_large_payload_in_a_batch_is_named() -> None:
    """With its place."""
    codec.check_payloads([b"1", b'"%s"' % (b"x" * 5_000)])
    with pytest.raises(TooLarge, match=r"^Invalid: jobs\[1\]: Job data too large \(1048577 bytes, "):
        codec.check_payloads([b"1", b'"%s"' % (b"x" * (MAX_JOB_BYTES - 1))])


@pytest.mark.parametrize(("depth", "ok"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (5_000, False)])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_depth_of_a_payload(depth: int, ok: bool, brackets: tuple[bytes, bytes]) -> None:
    """Whatever way it came in."""
    opening, closing = brackets
    payload = opening * depth + b"1" + closing * depth
    if ok:
        codec.check_payload(payload)
        return
    with pytest.raises(BadRequest, match=rf"^Invalid: nested deeper than {MAX_DEPTH}$"):
        codec.check_payload(payload)
    with pytest.raises(BadRequest, match=rf"^Invalid: jobs\[1\]: nested deeper than {MAX_DEPTH}$"):
        codec.check_payloads([b"1", payload])


@pytest.mark.parametrize("payload", [b"[[]]" * 1_500, b'"' + b"[" * 3_000 + b'"', b'"\\"' + b"[{" * 3_000 + b'"'])
def test_what_only_looks_deep(payload: bytes) -> None:
    """Brackets side by side and brackets in strings are not nested."""
    codec.check_payload(b"[" + payload.replace(b"]][[", b"]],[[") + b"]")


def test_a_deep_payload_that_is_large_as_well() -> None:
    """Measuring it may not fall over its depth, also where the interpreter's own bound is just about met."""
    with pytest.raises(BadRequest, match=rf"^Invalid: nested deeper than {MAX_DEPTH}$"):
        codec.check_payload(b"[" * 5_000 + b" " * MAX_JOB_BYTES + b"]" * 5_000)
    try:
        codec.check_payload(b"[" * MAX_DEPTH + b" " * MAX_JOB_BYTES + b"]" * MAX_DEPTH)
    except BadRequest as error:
        assert "nested deeper" in str(error)  # noqa: PT017  # whether it is refused depends on the interpreter


@pytest.mark.parametrize(
    ("raw", "kept"),
    [(b"null", None), (b"0", b"0"), (b'""', b'""'), (b"false", b"false"), (b'{ "a" : 1 }', b'{ "a" : 1 }')],
)
def test_results_are_kept_unless_they_are_null(raw: bytes, kept: bytes | None) -> None:
    """Nothing else is taken for nothing."""
    assert codec.result_bytes(Raw(raw)) == kept


def test_results_are_bounded() -> None:
    """In bytes and in depth."""
    most = b'"%s"' % (b"x" * (MAX_RESULT_BYTES - 2))
    assert codec.result_bytes(Raw(most)) == most
    with pytest.raises(TooLarge, match=r"^Result too large \(262145 bytes, max 262144 bytes\)$"):
        codec.result_bytes(Raw(most[:-1] + b'x"'))
    with pytest.raises(BadRequest, match=rf"^Invalid: nested deeper than {MAX_DEPTH}$"):
        codec.result_bytes(Raw(b"[" * 1_001 + b"]" * 1_001))


# --- replies ---

JOB = JobView(7, "q", Raw(b'{ "a" :1}'), -1, 100, 200, 0, 1, 3, 1_000, 0, 50, "k", [1], 40, None, ["t"])
JOB_BYTES = (
    b'{"id":7,"queue":"q","data":{ "a" :1},"priority":-1,"created_at":100,"run_at":200,"started_at":0,"attempts":1,'
    b'"max_attempts":3,"backoff":1000,"ttl":0,"timeout":50,"unique_key":"k","depends_on":[1],"progress":40,'
    b'"progress_msg":null,"tags":["t"]}'
)
PULLED = structs.replace(JOB, custom_id="mine", token="1.1.n")
PULLED_BYTES = JOB_BYTES[:-1] + b',"custom_id":"mine","token":"1.1.n"}'
CRON = CronView("n", "q", Raw(b"null"), "*/5", 0, "UTC", 5_000, None)
QUEUE = QueueView("q", 1, 2, 3, 4, 5, False, None, 6)
WEBHOOK = WebhookView("w", "https://example.org/", ["*"], None, True, 100, 1, 2, 3, 4, None)
WORKER = WorkerView("w", ["q"], 4, None, 12, 100, 1, 2, 3)
METRICS = Metrics(1, 2, 3, 0.5, 12.25, [QueueMetrics("q", 1, 2, 3, None)])

REPLIES: list[tuple[Any, bytes]] = [
    (replies.Reply(), b'{"ok":true}'),
    (replies.Acked(), b'{"ok":true}'),
    (replies.Acked(already=True), b'{"ok":true,"already":true}'),
    (replies.Pushed(id=7), b'{"ok":true,"id":7}'),
    (replies.Pushed(id=7, replayed=True), b'{"ok":true,"id":7,"replayed":true}'),
    (replies.PushedBatch(ids=[1, 2]), b'{"ok":true,"ids":[1,2]}'),
    (
        replies.PushedBatch(ids=[1, 1, 2], duplicates=[1], replayed=[2]),
        b'{"ok":true,"ids":[1,1,2],"duplicates":[1],"replayed":[2]}',
    ),
    (replies.Pulled(job=None), b'{"ok":true,"job":null}'),
    (replies.Pulled(job=PULLED), b'{"ok":true,"job":' + PULLED_BYTES + b"}"),
    (replies.PulledBatch(jobs=[]), b'{"ok":true,"jobs":[]}'),
    (replies.PulledBatch(jobs=[PULLED, PULLED]), b'{"ok":true,"jobs":[' + PULLED_BYTES + b"," + PULLED_BYTES + b"]}"),
    (replies.Counted(ids=[3]), b'{"ok":true,"ids":[3]}'),
    (replies.Counted(ids=[3], stale=[]), b'{"ok":true,"ids":[3],"stale":[]}'),
    (replies.Purged(count=3), b'{"ok":true,"count":3}'),
    (replies.Result(id=7, result=Raw(b"null")), b'{"ok":true,"id":7,"result":null}'),
    (replies.Result(id=7, result=Raw(b"[ ]")), b'{"ok":true,"id":7,"result":[ ]}'),
    (
        replies.Ended(id=7, state="failed", result=Raw(b"null"), error="boom"),
        b'{"ok":true,"id":7,"state":"failed","result":null,"error":"boom"}',
    ),
    (
        replies.Ended(id=7, state="completed", result=Raw(b"[ ]"), error=None),
        b'{"ok":true,"id":7,"state":"completed","result":[ ],"error":null}',
    ),
    (
        replies.EndedAttempts(ended=[EndedAttempt(7, "1.2.x", "cancelled")]),
        b'{"ok":true,"ended":[{"id":7,"token":"1.2.x","reason":"cancelled"}]}',
    ),
    (replies.JobAndState(job=None, state="unknown"), b'{"ok":true,"job":null,"state":"unknown"}'),
    (replies.JobAndState(job=JOB, state="waiting"), b'{"ok":true,"job":' + JOB_BYTES + b',"state":"waiting"}'),
    (replies.StateOf(id=7, state="waiting-children"), b'{"ok":true,"id":7,"state":"waiting-children"}'),
    (
        replies.Explained(explain=Explanation(7, "q", "delayed", 3, [Delayed(9, True, 1, "boom"), Paused()], 5)),
        b'{"ok":true,"explain":{"id":7,"queue":"q","state":"delayed","at":3,"reasons":[{"type":"delayed","until":9,"retry":true,'
        b'"attempts":1,"error":"boom"},{"type":"paused"}],"expires_at":5,"unique_key":null,"estimated_start":null,'
        b'"estimate_basis":null}}',
    ),
    (replies.ListedJobs(jobs=[], next="2f"), b'{"ok":true,"jobs":[],"next":"2f"}'),
    (
        replies.ListedJobs(jobs=[replies.ListedJob(*structs.astuple(JOB), state="waiting")], next=None),
        b'{"ok":true,"jobs":[' + JOB_BYTES[:-1] + b',"state":"waiting"}],"next":null}',
    ),
    (
        replies.ProgressOf(progress=replies.ProgressView(7, 40, None)),
        b'{"ok":true,"progress":{"id":7,"progress":40,"message":null}}',
    ),
    (replies.Jobs(jobs=[JOB]), b'{"ok":true,"jobs":[' + JOB_BYTES + b"]}"),
    (
        replies.StatsReply(queued=1, processing=2, delayed=3, dlq=4, completed=5, waiting_children=6),
        b'{"ok":true,"queued":1,"processing":2,"delayed":3,"dlq":4,"completed":5,"waiting_children":6}',
    ),
    (
        replies.MetricsReply(metrics=METRICS),
        b'{"ok":true,"metrics":{"total_pushed":1,"total_completed":2,"total_failed":3,"jobs_per_second":0.5,'
        b'"avg_latency_ms":12.25,"queues":[{"name":"q","pending":1,"processing":2,"dlq":3,"rate_limit":null}]}}',
    ),
    (
        replies.Crons(crons=[CRON]),
        b'{"ok":true,"crons":[{"name":"n","queue":"q","data":null,"schedule":"*/5","priority":0,"timezone":"UTC",'
        b'"next_run":5000,"last_run":null,"timeout":null,"ttl":null,"backoff":null,"max_attempts":null,'
        b'"unique_key":null,"tags":[]}]}',
    ),
    (replies.WebhookAdded(id="w"), b'{"ok":true,"id":"w"}'),
    (
        replies.Webhooks(webhooks=[WEBHOOK]),
        b'{"ok":true,"webhooks":[{"id":"w","url":"https://example.org/","events":["*"],"queue":null,"has_secret":true,'
        b'"created_at":100,"pending":1,"delivered":2,"failed":3,"dropped":4,"last_error":null}]}',
    ),
    (
        replies.Queues(queues=[QUEUE]),
        b'{"ok":true,"queues":[{"name":"q","pending":1,"processing":2,"delayed":3,"dlq":4,"completed":5,"paused":false,'
        b'"rate_limit":null,"concurrency_limit":6}]}',
    ),
    (
        replies.WorkersReply(workers=[WORKER]),
        b'{"ok":true,"workers":[{"id":"w","queues":["q"],"concurrency":4,"host":null,"pid":12,"last_heartbeat":100,'
        b'"active":1,"processed":2,"failed":3}]}',
    ),
    (
        replies.SettingsReply(
            settings=replies.SettingsView(
                *("1", "localhost", 1, 2, None, "sqlite", "full"), auth=False, tls=True, exposed=False, uptime_ms=3
            )
        ),
        b'{"ok":true,"settings":{"version":"1","host":"localhost","port":1,"http_port":2,"unix_socket":null,'
        b'"storage":"sqlite","durability":"full","auth":false,"tls":true,"exposed":false,"uptime_ms":3}}',
    ),
    (
        replies.NodesReply(nodes=[replies.NodeView("a", "localhost", 1, is_leader=True, state="standalone")]),
        b'{"ok":true,"nodes":[{"node_id":"a","host":"localhost","port":1,"is_leader":true,"state":"standalone"}]}',
    ),
    (
        replies.BackupReply(backup=replies.BackupView("backups/a.db", 4_096, 7, 12)),
        b'{"ok":true,"backup":{"path":"backups/a.db","bytes":4096,"group":7,"took_ms":12}}',
    ),
    (
        replies.History(
            id=7, history=[HistoryEntry(5, "failed", "q", 1, "w", "ada", None, "lines", "boom")], truncated=True
        ),
        b'{"ok":true,"id":7,"history":[{"at":5,"event":"failed","queue":"q","attempt":1,"worker":"w","by":"ada",'
        b'"peer":null,"door":"lines","detail":"boom"}],"truncated":true}',
    ),
    (
        replies.AuditLog(audit=[Operation(4, 5, "PAUSE", "q", "ada", None, "lines", None)], cursor=None),
        b'{"ok":true,"audit":[{"number":4,"at":5,"action":"PAUSE","target":"q","by":"ada","peer":null,'
        b'"door":"lines","detail":null}],"cursor":null}',
    ),
]


@pytest.mark.parametrize(("reply", "line"), REPLIES, ids=[type(reply).__name__ for reply, _ in REPLIES])
def test_the_exact_bytes_of_a_reply(reply: Any, line: bytes) -> None:
    """Compact, ``ok`` first, every promised member; the mark comes only when there is one."""
    assert codec.encode(reply) == line
    reply = structs.replace(reply, req_id="r-1")
    assert json.loads(codec.encode(reply)) == json.loads(line) | {"reqId": "r-1"}
    assert b"\n" not in line


def test_every_reply_is_in_the_table() -> None:
    """A new answer without its bytes here fails."""
    kinds = {kind for kind in vars(replies).values() if isinstance(kind, type) and issubclass(kind, replies.Reply)}
    assert kinds == {type(reply) for reply, _ in REPLIES}


# --- errors ---


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE.keys())
def test_an_error_as_an_answer(kind: type[FlashQError]) -> None:
    """Its sentence and its code."""
    line = codec.encode(codec.failure(kind("Because é")))
    assert json.loads(line) == {"ok": False, "error": "Because é", "code": kind.code}


def test_a_duplicate_names_the_job_that_is_there() -> None:
    """So that a client need not ask for it."""
    reply = codec.failure(Duplicate("Duplicate job with key: k", 7))
    assert codec.encode(reply) == b'{"ok":false,"error":"Duplicate job with key: k","code":"duplicate","id":7}'


def test_other_errors_name_no_job() -> None:
    """Even when they are about one."""
    assert codec.failure(NotFound("Job 7 not found")).id is UNSET
