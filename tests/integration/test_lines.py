"""Lines as bytes on a socket: order, ends of lines, what is JSON and what is not, what is too large."""

import json
import threading

import pytest
from tests.conformance.doors import Door
from tests.fakes.server_process import EndOfAnswers, LineClient, line

PING = b'{"cmd":"PING"}'
OK = {"ok": True}
MIB = 1024 * 1024


def push_line(queue: str, data: bytes) -> bytes:
    """A PUSH with a payload of exactly these bytes."""
    return b'{"cmd":"PUSH","queue":"%b","data":%b}' % (queue.encode(), data)


# --- order ---


def test_fifty_thousand_commands_before_the_first_answer_is_read(client: LineClient, queue: str) -> None:
    """A client may write as much before it reads; every answer comes, in order."""
    count = 50_000
    client.send_raw((push_line(queue, b"7") + b"\n") * count)
    ids = [client.receive()["id"] for _ in range(count)]
    assert ids == list(range(ids[0], ids[0] + count))
    client.send_raw(line("PULLB", queue=queue, count=10_000, timeout=0) * 6)
    jobs = [job["id"] for answer in client.receive_many(6) for job in answer["jobs"]]
    assert jobs == ids
    client.send_raw(b"".join(line("ACK", id=id) for id in ids))
    assert all(answer == OK for answer in client.receive_many(count))


def test_a_connection_that_reads_and_writes_at_the_same_time(client: LineClient, queue: str) -> None:
    """More answers than all buffers hold: the server stops reading, and goes on when it is read."""
    id = client.ok("PUSH", queue=queue, data="x" * 20_000, delay=3_600_000)["id"]
    count = 4_000
    writer = threading.Thread(target=client.send_raw, args=(line("GETJOB", id=id) * count,))
    writer.start()
    assert all(len(client.receive()["job"]["data"]) == 20_000 for _ in range(count))
    writer.join(10)
    assert not writer.is_alive()
    client.ok("CANCEL", id=id)


def test_answers_come_in_the_order_of_the_commands(client: LineClient, queue: str) -> None:
    """Writes, reads, refusals and pulls of one connection are answered in the order in which they were sent."""
    client.send_raw(
        line("PUSH", queue=queue, data=1)
        + b"nonsense\n"
        + line("PULL", queue=queue)
        + line("PING")
        + line("GETSTATE", id=0)
        + line("PULL", queue=queue, timeout=10_000)
        + line("STATS")
    )
    answers = client.receive_many(7)
    kinds = ["id", "error", "job", None, "state", "job", "queued"]
    assert all(kind is None or kind in answer for kind, answer in zip(kinds, answers, strict=True)), answers
    assert answers[2]["job"]["id"] == answers[0]["id"]
    assert answers[5]["job"] is None


def test_a_request_id_comes_back(client: LineClient, queue: str) -> None:
    """Every kind of answer carries the reqId of its request, refusals and lines that are no request included."""
    assert client.ask("PING", reqId="a") == {"ok": True, "reqId": "a"}
    assert client.ask("PUSH", queue=queue, data=0, reqId="ü")["reqId"] == "ü"
    assert client.ask("PUSH", queue="", data=0, reqId="c")["reqId"] == "c"
    assert client.ask("NONSENSE", reqId="d")["reqId"] == "d"
    assert client.ask("PUSH", reqId="e")["reqId"] == "e"
    assert "reqId" not in client.ask("PING", reqId=None)
    assert "reqId" not in client.ask("PING")
    assert client.ask("PING", reqId=7)["code"] == "bad_request"


def test_a_pull_with_request_id_is_answered_out_of_order(door: Door, client: LineClient, queue: str) -> None:
    """It waits, and everything behind it goes on."""
    client.send("PULL", queue=queue, reqId="p")
    assert client.ask("PING") == OK
    assert client.ask("PING", reqId="x") == {"ok": True, "reqId": "x"}
    assert client.ask("PULL", queue=queue, timeout=0) == {"ok": True, "job": None}
    id = door.client().ok("PUSH", queue=queue, data=0)["id"]
    answer = client.receive()
    assert (answer["reqId"], answer["job"]["id"]) == ("p", id)


# --- a pull that waits, and what comes behind it ---


@pytest.mark.parametrize(
    ("pull", "empty"),
    [
        ({"cmd": "PULL"}, {"ok": True, "job": None}),
        ({"cmd": "PULLB", "count": 3}, {"ok": True, "jobs": []}),
    ],
)
@pytest.mark.parametrize("behind", [PING, b"nonsense", b"", b'{"cmd":"NOPE"}', b'{"cmd":"PING","reqId":7}'])
def test_another_command_ends_the_waiting(
    client: LineClient, queue: str, pull: dict[str, object], empty: object, behind: bytes
) -> None:
    """A connection can never wait for itself, whatever the line behind the pull is."""
    client.send(**pull, queue=queue)  # type: ignore[arg-type]
    assert client.silent()
    client.send_raw(behind + b"\n")
    assert client.receive() == empty
    assert client.receive()["ok"] is (behind == PING)


@pytest.mark.parametrize("behind", [b'{"cmd":"PING","reqId":"r"}', b'{"cmd":"NOPE","reqId":"r"}'])
def test_a_command_with_request_id_does_not_end_the_waiting(
    door: Door, client: LineClient, queue: str, behind: bytes
) -> None:
    """It is answered out of order; the pull goes on waiting."""
    client.send("PULL", queue=queue)
    assert client.ask_raw(behind)["reqId"] == "r"
    assert client.silent()
    id = door.client().ok("PUSH", queue=queue, data=0)["id"]
    assert client.receive()["job"]["id"] == id


def test_pulls_behind_a_pull_keep_their_order(door: Door, client: LineClient, queue: str) -> None:
    """The second pull is not answered before the first, even if its queue has a job."""
    other = door.name("queue")
    pusher = door.client()
    second = pusher.ok("PUSH", queue=other, data=0)["id"]
    client.send("PULL", queue=queue)
    client.send("PULL", queue=other)
    client.send("PULLB", queue=queue, count=2)
    assert client.silent()
    first = pusher.ok("PUSH", queue=queue, data=0)["id"]
    assert [answer["job"]["id"] for answer in client.receive_many(2)] == [first, second]
    assert client.silent()
    third = pusher.ok("PUSH", queue=queue, data=0)["id"]
    assert [job["id"] for job in client.receive()["jobs"]] == [third]


def test_a_command_behind_several_pulls_ends_all_their_waiting(door: Door, client: LineClient, queue: str) -> None:
    """Those that have a job get it, the others get nothing, in order."""
    other = door.name("queue")
    id = door.client().ok("PUSH", queue=other, data=0)["id"]
    for name in (queue, other, queue):
        client.send("PULL", queue=name)
    assert client.silent()
    client.send("PING")
    answers = client.receive_many(4)
    assert [answer.get("job") and answer["job"]["id"] for answer in answers] == [None, id, None, None]
    assert answers[3] == OK


def test_a_wait_that_times_out_lets_the_next_one_wait(door: Door, client: LineClient, queue: str) -> None:
    """Pulls behind a pull have their turn when it is answered with nothing."""
    client.send("PULL", queue=queue, timeout=30)
    client.send("PULL", queue=queue, timeout=10_000)
    assert client.receive() == {"ok": True, "job": None}
    id = door.client().ok("PUSH", queue=queue, data=0)["id"]
    assert client.receive()["job"]["id"] == id


def test_first_come_first_served(door: Door, client: LineClient, queue: str) -> None:
    """Of those who wait the first gets the first job, and one job wakes one of them."""
    waiting = [door.client() for _ in range(3)]
    for one in waiting:
        one.send("PULL", queue=queue)
        assert one.silent()
    ids = [client.ok("PUSH", queue=queue, data=0)["id"] for _ in range(2)]
    assert [one.receive()["job"]["id"] for one in waiting[:2]] == ids
    assert waiting[2].silent()


@pytest.mark.parametrize("how", ["close", "vanish"])
def test_a_closed_connection_does_not_wait(door: Door, client: LineClient, queue: str, how: str) -> None:
    """No job goes to a connection that is gone, with or without a goodbye."""
    gone = [door.client() for _ in range(3)]
    for one in gone:
        one.send("PULL", queue=queue)
        one.send("PULL", queue=queue, reqId="r")
        one.send("PULL", queue=queue)
        assert one.silent()
        getattr(one, how)()
    client.ok("PING")  # the server has heard of it by now: it looks at its sockets in turn
    id = client.ok("PUSH", queue=queue, data=0)["id"]
    job = client.ok("PULL", queue=queue, timeout=0)["job"]
    assert (job["id"], job["attempts"]) == (id, 0)


def test_half_close(door: Door, queue: str) -> None:
    """Who has said everything still hears everything: what waits is answered with nothing, then comes the end."""
    client = door.client()
    client.send("PUSH", queue=queue, data=0)
    client.send("PULL", queue=queue, reqId="r")
    client.send("PULL", queue=queue, reqId="s")
    client.send("PULL", queue=queue)
    client.half_close()
    answers = client.rest()
    assert answers[0]["ok"] is True
    assert {answer.get("reqId") for answer in answers[1:]} == {"r", "s", None}
    assert [bool(answer["job"]) for answer in sorted(answers[1:], key=lambda a: a.get("reqId") or "")].count(True) == 1


def test_a_last_line_without_its_end_is_not_carried_out(door: Door, client: LineClient, queue: str) -> None:
    """Half a command is no command: nobody knows whether it was whole."""
    with door.client() as cut:
        cut.send_raw(line("PING") + push_line(queue, b"1"))
        cut.half_close()
        assert cut.rest() == [OK]
    assert client.ok("PULL", queue=queue, timeout=0) == {"job": None}


def test_waiting_pulls_of_a_connection_are_bounded(door: Door, client: LineClient, queue: str) -> None:
    """10,000 wait, the next is refused at once; those that stand behind a pull are bounded as well."""
    text = "Too many waiting calls on this connection (max 10000)"
    client.send_raw(b"".join(line("PULL", queue=queue, reqId=str(n)) for n in range(10_001)))
    assert client.receive() == {"ok": False, "reqId": "10000", "error": text, "code": "overloaded"}
    assert client.ask("PING") == OK
    patient = door.client()
    patient.send_raw(line("PULL", queue=queue, timeout=60_000) * 130 + line("PING"))
    answers = patient.receive_many(131)
    assert answers[:129] == [{"ok": True, "job": None}] * 129
    text = "Too many pulls behind one that waits (max 128)"
    assert answers[129:] == [{"ok": False, "error": text, "code": "overloaded"}, OK]


def test_a_client_that_only_pulls_is_cut_off(door: Door, client: LineClient, queue: str) -> None:
    """Pull after pull behind one that waits: in the end the connection closes, and takes no job with it."""
    greedy = door.client()
    greedy.send_raw(line("PULL", queue=queue) * 2_000)
    greedy.rest()
    id = client.ok("PUSH", queue=queue, data=0)["id"]
    job = client.ok("PULL", queue=queue, timeout=0)["job"]
    assert job is not None
    assert (job["id"], job["attempts"]) == (id, 0)


# --- what a line is ---


def test_ends_of_lines(client: LineClient) -> None:
    """A carriage return before the end is dropped; a blank line is answered, so that answers still match."""
    for raw in (PING + b"\r", b" " + PING + b" \t", b'{"x":[{}],"cmd":"PING"}', b'{"cmd":"PING","more":{"a":[null]}}'):
        assert client.ask_raw(raw) == OK
    for raw in (b"", b"\r", b"  ", b"\t"):
        assert client.ask_raw(raw) == {"ok": False, "error": "Invalid: empty line", "code": "bad_request"}
    client.send_raw(PING + b"\r\n" + PING + b"\n\r\n" + PING + b"\n")
    assert [answer["ok"] for answer in client.receive_many(4)] == [True, True, False, True]


def test_answers_are_one_compact_line(client: LineClient, queue: str) -> None:
    """Compact JSON in UTF-8, one line each, also with ends of lines in the payload."""
    client.ok("PUSH", queue=queue, data="a\n\u2028b")
    client.send("PULL", queue=queue)
    raw = client.receive_raw()
    assert raw == json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=True).encode()
    client.send("PUSH", queue=queue, data=0)
    assert client.receive_raw().startswith(b'{"ok":true,"id":')


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"}", b"[]", b"1", b"null", b'"PING"', b"{}", b'{"cmd":null}', b'{"cmd":1}', b'{"cmd":"ping"}',
        b'{"cmd":""}', b'{"cmd":"PING"', b'{"cmd":"PING"}}', b'{"cmd":"PING"} {"cmd":"PING"}', b'{cmd:"PING"}',
        b"{'cmd':'PING'}", b'{"cmd":"PING",}', b"GET / HTTP/1.1", b"\x00", b"\x16\x03\x01\x02\x00",
        b"\xef\xbb\xbf" + PING,
        b'{"cmd":"PING","x":NaN}', b'{"cmd":"PING","x":Infinity}', b'{"cmd":"PING","x":01}', b'{"cmd":"PING","x":.5}',
        b'{"cmd":"PING","x":+1}', b'{"cmd":"PING","x":1.}', b'{"cmd":"PING","x":"\t"}', b'{"cmd":"PING","x":"\\x"}',
        b'{"cmd":"PING","x":"\xff"}', b'{"cmd":"PING","\xc3\x28":1}', b'{"cmd":"PING","x":"\xed\xa0\x80"}',
        b'{"cmd":"PING","x":"\xc0\xaf"}', b'{"cmd":"PING","x":"\xf5\x80\x80\x80"}', b'{"cmd":"PING" "x":1}',
    ],
)  # fmt: skip
def test_what_is_no_request(client: LineClient, raw: bytes) -> None:
    """Not JSON, not UTF-8, or not a command: an error, and the connection stays."""
    answer = client.ask_raw(raw)
    assert answer["ok"] is False
    assert answer["code"] == "bad_request"
    assert answer["error"].startswith("Invalid: ")
    assert len(answer["error"]) < 400
    assert client.ask_raw(PING) == OK


# --- payloads ---


@pytest.mark.parametrize(
    "data",
    [
        b"null", b"true", b"0", b"-0", b"-0.0", b"1.0", b"1e400", b"-1E+400", b"1e-400", b"0.10", b"1E5",
        b"123456789012345678901234567890", b"3.141592653589793238462643383279", b"9007199254740993",
        b'""', b'"\\u00e9"', b'"\xc3\xa9"', b'"\\ud83d\\ude00"', b'"\\/"', b'"\\u0000"', b'"\\u2028\xe2\x80\xa8"',
        b'{"b":1,"a":2}', b'{"a":1,"a":2}', b'{ "a" : [ 1 , 2 ] }', b"[1,  2,\t3]", b'"\\n\\r\\t\\b\\f\\\\\\""',
        b'{"cmd":"PING"}', b'"\x7f"', b"[[],{},[{}]]",
    ],
)  # fmt: skip
def test_payloads_come_back_byte_for_byte(client: LineClient, queue: str, data: bytes) -> None:
    """Neither numbers nor escapes nor blanks nor the order of members are touched, in data and in results."""
    id = client.ask_raw(push_line(queue, data))["id"]
    client.send("PULL", queue=queue)
    assert b'"data":' + data + b',"priority"' in client.receive_raw()
    assert client.ask_raw(b'{"cmd":"ACK","id":%d,"result":%b}' % (id, data)) == OK
    client.send("GETRESULT", id=id)
    assert client.receive_raw() == b'{"ok":true,"id":%d,"result":%b}' % (id, data)
    client.ask_raw(b'{"cmd":"PUSHB","queue":"%b","jobs":[{"data":%b},{"data":1}]}' % (queue.encode(), data))
    client.send("PULLB", queue=queue, count=2)
    assert b'"data":' + data + b',"priority"' in client.receive_raw()


@pytest.mark.parametrize(
    "data",
    [b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"tru", b"'a'", b'"\xff"', b'"\xed\xa0\x80"', b"[1,]"],
)
def test_what_is_no_payload(client: LineClient, queue: str, data: bytes) -> None:
    """A payload is JSON in UTF-8, or it is refused: nobody could read it afterwards."""
    assert client.ask_raw(push_line(queue, data))["code"] == "bad_request"
    assert client.ok("PULL", queue=queue, timeout=0) == {"job": None}


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00x"', '"a\\ud800b"'])
def test_lone_surrogates_never_come_out_as_broken_text(client: LineClient, queue: str, text: str) -> None:
    """A name or key that is no text is refused; a payload may hold the escape, since it is only kept."""
    for member in ("unique_key", "job_id", "queue"):
        members = {"cmd": '"PUSH"', "queue": json.dumps(queue), "data": "1", member: text}
        raw = "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
        answer = client.ask_raw(raw.encode())
        assert answer.get("code") == "bad_request", (member, answer)
    assert client.ask_raw(PING) == OK


def nested(depth: int) -> bytes:
    """Arrays in arrays."""
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("depth", [128, 500])
def test_deep_payloads(client: LineClient, queue: str, depth: int) -> None:
    """Nesting of 128 is accepted everywhere."""
    assert client.ask_raw(push_line(queue, nested(depth)))["ok"] is True
    job = client.ok("PULL", queue=queue)["job"]
    assert client.ask_raw(b'{"cmd":"ACK","id":%d,"result":%b}' % (job["id"], nested(depth))) == OK
    assert client.ask_raw(b'{"cmd":"PUSHB","queue":"%b","jobs":[{"data":%b}]}' % (queue.encode(), nested(depth)))["ok"]
    assert client.ask_raw(b'{"cmd":"PING","more":%b}' % nested(depth)) == OK


@pytest.mark.parametrize("shape", ["arrays", "objects", "mixed", "open"])
@pytest.mark.parametrize("depth", [1_001, 5_000, 100_000])
def test_too_deep_payloads(client: LineClient, queue: str, depth: int, shape: str) -> None:
    """Over 1,000 is refused everywhere, in every shape, and the server stays."""
    data = {
        "arrays": nested(depth),
        "objects": b'{"a":' * depth + b"1" + b"}" * depth,
        "mixed": b'[{"a":' * (depth // 2 + 1) + b"1" + b"}]" * (depth // 2 + 1),
        "open": b"[" * depth,
    }[shape]
    for raw in (
        push_line(queue, data),
        b'{"cmd":"PUSHB","queue":"q","jobs":[{"data":1},{"data":%b}]}' % data,
        b'{"cmd":"ACK","id":1,"result":%b}' % data,
        b'{"cmd":"CRON","name":"n","queue":"q","schedule":"* * * * *","data":%b}' % data,
        data,
    ):
        answer = client.ask_raw(raw)
        assert (answer["ok"], answer["code"]) == (False, "bad_request"), answer
    assert client.ask_raw(PING) == OK


def test_deep_unknown_members_do_no_harm(client: LineClient) -> None:
    """What is ignored is not looked into, or refused; nothing falls over."""
    assert client.ask_raw(b'{"cmd":"PING","more":%b}' % nested(100_000))["ok"] in (True, False)
    assert client.ask_raw(PING) == OK


def test_brackets_in_strings_are_no_nesting(client: LineClient, queue: str) -> None:
    """A long text full of brackets is a text."""
    data = json.dumps('["{' * 5_000).encode()
    assert client.ask_raw(push_line(queue, data))["ok"] is True
    client.ok("PULL", queue=queue)


def test_a_line_of_over_a_mebibyte_is_answered(client: LineClient, queue: str) -> None:
    """It is read whole and refused by name; the connection stays and is in step."""
    answer = client.ask_raw(push_line(queue, b'"' + b"x" * 1_100_000 + b'"'))
    assert answer["code"] == "too_large"
    assert "too large" in answer["error"]
    assert client.ask_raw(PING) == OK


def test_the_longest_line(client: LineClient) -> None:
    """16 MiB is a line."""
    head = b'{"cmd":"PING","more":"'
    assert client.ask_raw(head + b"x" * (16 * MIB - len(head) - 2) + b'"}') == OK
    assert client.ask_raw(PING) == OK


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_ends_the_connection(door: Door, client: LineClient, queue: str, end: bytes) -> None:
    """One byte over 16 MiB, ended or not: told so, behind the answers that are due, and closed."""
    long = door.client()
    long.send_raw(line("PUSH", queue=queue, data=1) + b"x" * (16 * MIB + 1) + end + PING + b"\n")
    answers = long.rest()
    assert answers[0]["ok"] is True
    assert len(answers) == 2
    assert answers[1]["code"] == "too_large"
    assert "too large" in answers[1]["error"]
    assert client.ask_raw(PING) == OK


def test_a_line_that_is_too_long_takes_no_job_with_it(door: Door, client: LineClient, queue: str) -> None:
    """The connection waited for jobs when it was ended: none is handed to it any more."""
    long = door.client()
    long.send("PULL", queue=queue)
    long.send("PULL", queue=queue, reqId="r")
    long.ok("SUBSCRIBE", queue="*", events=[], reqId="s")
    long.send("PULL", queue=queue)
    long.send_raw(b"x" * (16 * MIB + 1))
    while long.receive().get("code") != "too_large":
        pass
    id = client.ok("PUSH", queue=queue, data=0)["id"]  # while the server lets the other one read its last answer
    job = client.ok("PULL", queue=queue, timeout=0)["job"]
    assert job is not None
    assert (job["id"], job["attempts"]) == (id, 0)
    with pytest.raises(EndOfAnswers):
        long.receive()
    assert "Traceback" not in door.server.errors()
