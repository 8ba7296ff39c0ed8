"""Every command is read with all its members, and every member refuses what it may not be."""

import json
from typing import Any

import pytest
from msgspec import Raw, structs

from flashq.errors import BadRequest
from flashq.protocol import requests
from flashq.protocol.codec import decode_request
from flashq.protocol.limits import (
    MAX_DEPENDS_ON,
    MAX_DURATION_MS,
    MAX_HISTORY,
    MAX_ID,
    MAX_KEY_CHARS,
    MAX_PULL_QUEUES,
    MAX_TAGS,
    MAX_URL_CHARS,
)

# What a member may be. Each kind: values that are accepted, values that are refused.
STR = (["", "x", "é😀", "x" * 10_000], [1, True, [], {}])
KEY = (["", "x", "é" * MAX_KEY_CHARS], ["x" * (MAX_KEY_CHARS + 1), 1, True, []])
NAME = (["x", "x" * 256], ["", "x" * 257, 1, []])
ID = ([0, 1, MAX_ID], [-1, MAX_ID + 1, 2**64, 10**30, 1.0, 1.5, "1", True, []])
U8 = ([0, 100, 255], [-1, 256, 1.0, "1", True])
U32 = ([0, 1, 2**32 - 1], [-1, 2**32, 10**30, 1.0, 2.5, "1", True, []])
I32 = ([-(2**31), 0, 2**31 - 1], [-(2**31) - 1, 2**31, 1.0, "1", True])
MS = ([0, 1, MAX_DURATION_MS], [-1, MAX_DURATION_MS + 1, 2**64, 1.0, "1s", True])
BOOL: tuple[list[Any], list[Any]] = ([True, False], [0, 1, "true", []])
JSON: tuple[list[Any], list[Any]] = ([0, "x", [], {}, {"a": [1, None, "é"]}, True], [])
IDS = ([[], [1], [0, MAX_ID]], [[-1], [1.0], ["1"], [None], 1, "1", {}])
PARENTS = ([[], [1, 2], [1] * MAX_DEPENDS_ON], [[1] * (MAX_DEPENDS_ON + 1), [-1], ["1"], [None], 1])
TAGS = ([[], ["a", "é"], ["a"] * MAX_TAGS], [["a"] * (MAX_TAGS + 1), ["x" * 257], [1], [None], "a"])
QUEUES = ([["q"], ["a", "b"], ["q"] * MAX_PULL_QUEUES], ["q", [], [1], [None], ["q"] * (MAX_PULL_QUEUES + 1)])
STRS = ([[], ["a"]], [[1], [None], "a", {}])
JSONS = ([[], [1, None, {"a": 1}]], [1, "x", {}])
PLACES = ([[], [0, 2**32 - 1], [1] * MAX_DEPENDS_ON], [[1] * (MAX_DEPENDS_ON + 1), [-1], [2**32], ["1"], [None], 1])
FLOW = (
    [
        [{"queue": "q", "data": 1}],
        [{"queue": "q", "data": None, "collect": True, "after": places} for places in PLACES[0]],
    ],
    [
        [],
        [{"data": 1}],
        [{"queue": "q"}],
        *([{"queue": "q", "data": 1, "after": bad}] for bad in PLACES[1]),
        [1],
        {},
        1,
    ],
)
JOBS = ([[], [{"data": 1}], [{"data": None, "priority": 3}]], [[{}], [{"data": 1, "priority": "x"}], [1], {}, 1])
HOLDS = ([[], [[1, "t"]], [[MAX_ID, ""]] * 3], [0, "", {}, [1], [[1]], [["1", "t"]], [[1, None]], [[-1, "t"]]])
URL = (["x", "https://example.org/é", "x" * MAX_URL_CHARS], ["", "x" * (MAX_URL_CHARS + 1), 1, []])
HOOK_EVENTS = ([["*"], ["a"] * 100], [[], ["a"] * 101, [1], [None], "a", {}])

SINCE = ([0, MAX_ID], [-1, MAX_ID + 1, 1.5, "1", True])
CURSOR = ([1, MAX_ID], [0, MAX_ID + 1, 1.5, "1", True])
LIMIT = ([1, MAX_HISTORY], [0, MAX_HISTORY + 1, 1.5, "1", True])
COUNT = ([1, 1_000, 2**32 - 1], [0, -1, 2**32, 1.0, "1", True])
LISTED = (["waiting", "delayed", "active", "completed", "failed", "waiting-children"], ["unknown", "", 1, ["failed"]])

NULLS = "null too"
"""The contract says ``opt``: null is as good as absent."""

QUEUE: dict[str, Any] = {"queue": STR}
JOB: dict[str, Any] = {
    "data": (*JSON, NULLS), "priority": I32, "delay": (*MS, NULLS), "ttl": (*MS, NULLS), "timeout": (*MS, NULLS),
    "max_attempts": (*U32, NULLS), "backoff": (*MS, NULLS), "unique_key": (*KEY, NULLS),
    "depends_on": (*PARENTS, NULLS), "tags": (*TAGS, NULLS), "job_id": (*KEY, NULLS), "collect": BOOL,
}  # fmt: skip

# command: (the least it needs, all its members)
COMMANDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "PUSH": ({"queue": "q", "data": 1}, QUEUE | JOB),
    "PUSHB": ({"queue": "q", "jobs": []}, QUEUE | {"jobs": JOBS}),
    "PUSHFLOW": ({"jobs": [{"queue": "q", "data": 1}]}, {"jobs": FLOW}),
    "PULL": ({"queue": "q"}, QUEUE | {"timeout": (*MS, NULLS)}),
    "WAITJOB": ({"id": 1}, {"id": ID, "timeout": (*MS, NULLS)}),
    "PULLANY": ({"queues": ["q"]}, {"queues": QUEUES, "count": U32, "timeout": (*MS, NULLS)}),
    "PULLB": ({"queue": "q", "count": 1}, QUEUE | {"count": U32, "timeout": (*MS, NULLS)}),
    "ACK": ({"id": 1}, {"id": ID, "result": (*JSON, NULLS), "token": (*STR, NULLS)}),
    "ACKB": ({"ids": []}, {"ids": IDS, "tokens": (*STRS, NULLS), "results": (*JSONS, NULLS)}),
    "FAIL": (
        {"id": 1},
        {"id": ID, "error": (*STR, NULLS), "token": (*STR, NULLS), "delay": (*MS, NULLS), "dead": BOOL},
    ),
    "RELEASE": ({"id": 1}, {"id": ID, "token": (*STR, NULLS), "delay": (*MS, NULLS)}),
    "GETRESULT": ({"id": 1}, {"id": ID}),
    "GETJOB": ({"id": 1}, {"id": ID}),
    "GETJOBBYCUSTOMID": ({"job_id": "c"}, {"job_id": KEY}),
    "GETSTATE": ({"id": 1}, {"id": ID}),
    "EXPLAIN": ({"id": 1}, {"id": ID}),
    "LISTJOBS": (
        {},
        {"queue": (*STR, NULLS), "state": (*LISTED, NULLS), "limit": COUNT, "cursor": (*STR, NULLS)},
    ),
    "CANCEL": ({"id": 1}, {"id": ID}),
    "PROGRESS": (
        {"id": 1, "progress": 5},
        {"id": ID, "progress": U8, "message": (*STR, NULLS), "token": (*STR, NULLS)},
    ),
    "GETPROGRESS": ({"id": 1}, {"id": ID}),
    "HEARTBEAT": ({"id": 1}, {"id": ID, "token": (*STR, NULLS)}),
    "DLQ": ({"queue": "q"}, QUEUE | {"count": (*U32, NULLS)}),
    "RETRYDLQ": ({"queue": "q"}, QUEUE | {"id": (*ID, NULLS)}),
    "PURGEDLQ": ({"queue": "q"}, QUEUE),
    "SUBSCRIBE": ({"queue": "*"}, QUEUE | {"events": STRS}),
    "UNSUBSCRIBE": ({"queue": "*"}, QUEUE),
    "STATS": ({}, {}),
    "METRICS": ({}, {}),
    "CRON": (
        {"name": "n", "queue": "q", "schedule": "*/5"},
        QUEUE
        | {"name": NAME, "schedule": STR, "data": (*JSON, NULLS), "priority": I32, "timezone": (*KEY, NULLS)}
        | {name: JOB[name] for name in ("timeout", "ttl", "backoff", "max_attempts", "unique_key", "tags")},
    ),
    "CRONDELETE": ({"name": "n"}, {"name": STR}),
    "CRONLIST": ({}, {}),
    "WEBHOOK": (
        {"url": "https://example.org/", "events": ["*"]},
        {"url": URL, "events": HOOK_EVENTS, "queue": (*STR, NULLS), "secret": (*NAME, NULLS)},
    ),
    "WEBHOOKDELETE": ({"id": "w"}, {"id": STR}),
    "WEBHOOKLIST": ({}, {}),
    "RATELIMIT": ({"queue": "q", "limit": 1}, QUEUE | {"limit": U32}),
    "RATELIMITCLEAR": ({"queue": "q"}, QUEUE),
    "SETCONCURRENCY": ({"queue": "q", "limit": 1}, QUEUE | {"limit": U32}),
    "CLEARCONCURRENCY": ({"queue": "q"}, QUEUE),
    "PAUSE": ({"queue": "q"}, QUEUE),
    "RESUME": ({"queue": "q"}, QUEUE),
    "LISTQUEUES": ({}, {}),
    "AUTH": ({"token": "t"}, {"token": STR}),
    "PING": ({}, {}),
    "HELLO": (
        {"worker": "w"},
        {
            "worker": NAME,
            "queues": STRS,
            "concurrency": U32,
            "host": (*KEY, NULLS),
            "pid": (*U32, NULLS),
            "holds": (*HOLDS, NULLS),
        },
    ),
    "BEAT": ({"worker": "w"}, {"worker": STR, "wait": (*MS, NULLS)}),
    "BYE": ({"worker": "w"}, {"worker": STR, "error": (*STR, NULLS)}),
    "WORKERS": ({}, {}),
    "SETTINGS": ({}, {}),
    "NODES": ({}, {}),
    "SHUTDOWN": ({}, {}),
    "RESTART": ({}, {}),
    "BACKUP": ({}, {}),
    "HISTORY": ({"id": 1}, {"id": ID}),
    "AUDITLOG": ({}, {"since": (*SINCE, NULLS), "limit": LIMIT, "cursor": (*CURSOR, NULLS)}),
}

MEMBERS = [(command, member) for command, (_, members) in COMMANDS.items() for member in members]


def read(command: str, **members: Any) -> Any:
    """The request as the server sees it."""
    return decode_request(json.dumps({"cmd": command, **members}).encode())


def plain(value: Any) -> Any:
    """A member's value without the wrapping of payloads."""
    if isinstance(value, Raw):
        return json.loads(bytes(value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "__struct_fields__"):
        return {name: plain(item) for name, item in structs.asdict(value).items()}
    return value


def said(got: Any, given: Any) -> Any:
    """Of jobs in a list only the members that were given."""
    if isinstance(got, list) and got and isinstance(got[0], dict):
        return [{name: job[name] for name in members} for job, members in zip(got, given, strict=True)]
    return got


def test_the_table_is_complete() -> None:
    """A new command, or a new member of one, without a line here fails."""
    known = {kind.__struct_config__.tag: kind for kind in requests.REQUEST_TYPES}
    assert known.keys() == COMMANDS.keys()
    for command, kind in known.items():
        assert {field.encode_name for field in structs.fields(kind)} - {"reqId"} == COMMANDS[command][1].keys(), command


@pytest.mark.parametrize("command", COMMANDS)
def test_the_least_that_a_command_needs(command: str) -> None:
    """Each is read with what it must have, and with nothing less."""
    least = COMMANDS[command][0]
    request = read(command, **least)
    assert type(request).__struct_config__.tag == command
    assert {name: said(plain(getattr(request, name)), least[name]) for name in least} == least
    for missing in least:
        with pytest.raises(BadRequest, match=f"^Invalid: Object missing required field `{missing}`"):
            read(command, **{name: value for name, value in least.items() if name != missing})


@pytest.mark.parametrize(("command", "member"), MEMBERS)
def test_what_a_member_may_be(command: str, member: str) -> None:
    """Every accepted value comes out as it went in."""
    least, members = COMMANDS[command]
    for value in members[member][0]:
        assert said(plain(getattr(read(command, **least | {member: value}), member)), value) == value


@pytest.mark.parametrize(("command", "member"), MEMBERS)
def test_what_a_member_may_not_be(command: str, member: str) -> None:
    """Out of range, of another type, null where it says nothing: refused, and the member is named."""
    least, members = COMMANDS[command]
    refused = list(members[member][1])
    if NULLS not in members[member]:
        refused.append(None)
    for value in refused:
        with pytest.raises(BadRequest, match=rf"^Invalid: .* at `\$\.{member}"):
            read(command, **least | {member: value})


@pytest.mark.parametrize(("command", "member"), [pair for pair in MEMBERS if NULLS in COMMANDS[pair[0]][1][pair[1]]])
def test_null_is_as_good_as_absent(command: str, member: str) -> None:
    """For the members that the contract calls optional. The default of ``DLQ`` is its handler's business."""
    least, _ = COMMANDS[command]
    value = plain(getattr(read(command, **least | {member: None}), member))
    assert value is None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_may_carry_a_mark(command: str) -> None:
    """``reqId`` is a string of any kind, or null."""
    least = COMMANDS[command][0]
    assert read(command, **least).req_id is None
    assert read(command, **least, reqId="a-1 é").req_id == "a-1 é"
    assert read(command, **least, reqId=None).req_id is None
    with pytest.raises(BadRequest, match=r"at `\$\.reqId`$"):
        read(command, **least, reqId=7)


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_members_are_ignored_and_the_order_is_free(command: str) -> None:
    """Newer clients may say more, and ``cmd`` need not come first."""
    least = COMMANDS[command][0]
    line = json.dumps({"future": {"deep": [1]}, **least, "cmd": command, "priority_of_nothing": None})
    assert plain(decode_request(line.encode())) == plain(read(command, **least))


@pytest.mark.parametrize(
    ("command", "member", "default"),
    [
        ("PUSH", "priority", 0),
        ("PUSH", "max_attempts", None),
        ("PUSH", "backoff", None),
        ("PULL", "timeout", None),
        ("DLQ", "count", 100),
        ("SUBSCRIBE", "events", []),
        ("CRON", "data", None),
        ("CRON", "priority", 0),
        ("CRON", "timezone", None),
        ("HELLO", "concurrency", 1),
        ("HELLO", "queues", []),
    ],
)
def test_defaults(command: str, member: str, default: Any) -> None:
    """What an absent member means."""
    assert plain(getattr(read(command, **COMMANDS[command][0]), member)) == default


def test_a_client_cannot_set_what_belongs_to_the_engine() -> None:
    """Members of a job that only the server may write are ignored like any unknown member."""
    request = read("PUSH", queue="q", data=1, id=7, attempts=5, state="completed", created_at=1, token="t", progress=9)
    assert not {"id", "attempts", "state", "created_at", "token", "progress"} & set(request.__struct_fields__)
