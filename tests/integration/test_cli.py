"""The command line against a real server: every verb for people and for programs, pipes, terminals, exit codes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.fakes.ports import kept_ports
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import FlashQ
from flashq.cli import exits
from flashq.cli.program import program

FLASHQ = (sys.executable, "-m", "flashq")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
TOKEN = "s3cret-token"

_queues = count(1)

Said = Callable[..., str]
Told = Callable[..., Any]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that keeps nothing."""
    with ServerProcess(tmp_path_factory.mktemp("open"), url=MEMORY, unix=True) as process:
        yield process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that wants a token."""
    folder = tmp_path_factory.mktemp("guarded")
    with ServerProcess(folder, url=MEMORY, environment={"AUTH_TOKENS": TOKEN}) as process:
        yield process


@pytest.fixture
def url(process: ServerProcess) -> str:
    """Where the server is."""
    return f"flashq://127.0.0.1:{process.port}"


@pytest.fixture
def client(url: str) -> Iterator[FlashQ]:
    """The client library, to prepare what a verb is to find."""
    with FlashQ(url) as client:
        yield client


@pytest.fixture
def queue() -> str:
    """A queue that no other test uses."""
    return f"cli-{next(_queues)}"


@pytest.fixture
def said(url: str) -> Said:
    """Run a verb for people; gives what it printed."""

    def run(*arguments: str | int, code: int = exits.OK, input: str | None = None) -> str:
        result = CliRunner().invoke(program, ["--url", url, *map(str, arguments)], input, prog_name="flashq")
        assert result.exit_code == code, result.output
        assert bool(result.stderr) is (code != exits.OK), result.stderr
        return result.stdout if code == exits.OK else result.stderr

    return run


@pytest.fixture
def told(url: str) -> Told:
    """Run a verb for programs; gives the document it printed."""

    def run(*arguments: str | int, code: int = exits.OK, input: str | None = None) -> Any:
        result = CliRunner().invoke(program, [*map(str, arguments), "--json", "--url", url], input)
        assert result.exit_code == code, result.output
        assert result.stdout.count("\n") <= 1
        return json.loads(result.stdout or result.stderr)

    return run


def shell(url: str, *arguments: str, input: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run a verb as a process of its own."""
    environment = {**os.environ, "FLASHQ_URL": url}
    return subprocess.run([*FLASHQ, *arguments], env=environment, input=input, capture_output=True, timeout=60)


@contextmanager
def started(url: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a verb beside the test, with both its outputs; it does not outlive the block, whatever happens there."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*FLASHQ, "--url", url, *arguments], stdout=pipe, stderr=pipe) as verb:
        try:
            yield verb
        finally:
            verb.kill()


# --- push and pull ---


def test_push_and_pull(said: Said, queue: str) -> None:
    """A pushed job comes back with its data and everything that is needed to end it."""
    id = said("push", queue, '{"to": "ada"}').strip()
    assert id.isdecimal()
    shown = said("pull", queue)
    assert re.search(rf"^id +{id}$", shown, re.MULTILINE)
    assert re.search(r'^data +\{"to":"ada"\}$', shown, re.MULTILINE)
    token = re.search(r"^token +(\S+)$", shown, re.MULTILINE)
    assert token is not None
    assert said("jobs", "ack", id, '{"sent": true}', "--attempt", token[1]) == f"job {id} completed\n"
    assert said("jobs", "result", id) == '{"sent":true}\n'


def test_push_and_pull_for_programs(told: Told, queue: str) -> None:
    """The same as documents, with the members of the protocol."""
    id = told("push", queue, "[1, 2.50]")["id"]
    job = told("pull", queue)
    assert (job["id"], job["data"], job["queue"]) == (id, [1, 2.5], queue)
    assert told("jobs", "ack", id, "7", "--attempt", job["token"]) == {"ok": True}
    assert told("jobs", "result", id) == {"id": id, "result": 7}
    assert told("jobs", "state", id) == {"id": id, "state": "completed"}


def test_every_option_of_push(told: Told, client: FlashQ, queue: str) -> None:
    """Each option sets the member of the job that it is named after."""
    parents = [client.push(queue, None), client.push(queue, None)]
    options = ["--priority", -5, "--ttl", 60_000, "--timeout", 5_000, "--max-attempts", 7, "--backoff", 0]
    options += ["--unique-key", f"key-{queue}", "--tag", "a", "--tag", "b", "--job-id", f"id-{queue}"]
    options += ["--depends-on", parents[0], "--depends-on", parents[1]]
    id = told("push", queue, "1", *options)["id"]
    job = told("jobs", "get", id)
    expected = {
        "priority": -5,
        "ttl": 60_000,
        "timeout": 5_000,
        "max_attempts": 7,
        "backoff": 0,
        "unique_key": f"key-{queue}",
        "tags": ["a", "b"],
        "custom_id": f"id-{queue}",
        "depends_on": parents,
        "state": "waiting-children",
    }
    assert {name: job[name] for name in expected} == expected
    assert told("jobs", "get", "--custom-id", f"id-{queue}")["id"] == id
    assert told("push", queue, "1", "--job-id", f"id-{queue}")["id"] == id


def test_a_delayed_job(told: Told, said: Said, queue: str) -> None:
    """A delayed job is not there yet."""
    id = told("push", queue, "1", "--delay", 60_000)["id"]
    assert said("jobs", "state", id) == "delayed\n"
    assert "runs" in said("jobs", "get", id)
    assert told("pull", queue, code=exits.NOTHING) is None


def test_a_duplicate_is_refused(said: Said, told: Told, queue: str) -> None:
    """A key that is held is a refusal of the server with its code."""
    told("push", queue, "1", "--unique-key", "k")
    assert said("push", queue, "1", "--unique-key", "k", code=exits.REFUSED).endswith("with key: k [duplicate]\n")
    assert told("push", queue, "1", "--unique-key", "k", code=exits.REFUSED)["code"] == "duplicate"


def test_an_empty_queue(said: Said, told: Told, queue: str) -> None:
    """No job in time is neither success nor failure, and a document all the same."""
    assert said("pull", queue, code=exits.NOTHING) == f"flashq: no job in {queue}\n"
    assert said("pull", queue, "--timeout", 20, code=exits.NOTHING) == f"flashq: no job in {queue} within 20 ms\n"
    assert told("pull", queue, code=exits.NOTHING) is None
    assert told("pull", queue, "--count", 5, code=exits.NOTHING) == []


def test_pull_waits(url: str, client: FlashQ, queue: str) -> None:
    """A pull with a timeout gets the job that is pushed while it waits."""
    verb = started(url, "--json", "pull", queue, "--timeout", "20000", "--ack")
    with verb as pull, client.subscribe(queue) as events:
        client.push(queue, "late")
        seen = [events.next(20_000).event_type for _ in range(3)]
        out, _ = pull.communicate(timeout=20)
    assert json.loads(out)["data"] == "late"
    assert seen == ["pushed", "active", "completed"]


def test_pull_from_several_queues(told: Told, said: Said, client: FlashQ, queue: str) -> None:
    """The first queue that has a job gives it."""
    ids = [client.push(f"{queue}-later", 1), client.push(queue, 2)]
    pulled = told("pull", f"{queue}-none", queue, f"{queue}-later", "--count", 5)
    assert [job["id"] for job in pulled] == ids[::-1]
    assert said("pull", "a", "b", code=exits.NOTHING) == "flashq: no job in a, b\n"


def test_wait_for_a_job(url: str, told: Told, said: Said, client: FlashQ, queue: str) -> None:
    """The result of a job as soon as there is one; what came in its place is said, and is exit code 4."""
    id = client.push(queue, "x", max_attempts=1)
    assert said("wait", id, "--timeout", 5, code=exits.NOTHING) == (
        f"flashq: job {id} has not ended within 5 ms: it is waiting\n"
    )
    with started(url, "wait", str(id)) as verb:
        client.ack(told("pull", queue)["id"], {"sent": 1})
        out, _ = verb.communicate(timeout=20)
    assert json.loads(out) == {"sent": 1}
    assert told("wait", id) == {"id": id, "state": "completed", "result": {"sent": 1}, "error": None}
    id = client.push(queue, "x", max_attempts=1)
    client.fail(told("pull", queue)["id"], "boom")
    assert said("wait", id, code=exits.NOTHING) == f"flashq: job {id} failed: boom\n"
    assert said("wait", 10**9, code=exits.NOTHING) == f"flashq: Job {10**9} not found\n"


def test_pull_many_and_ack(told: Told, said: Said, client: FlashQ, queue: str) -> None:
    """Up to as many as asked for, completed as soon as they are printed."""
    ids = client.push_batch(queue, range(5))
    pulled = told("pull", queue, "--count", 3, "--ack")
    assert [job["id"] for job in pulled] == ids[:3]
    assert said("pull", queue, "--count", 9, "--ack").count("data") == 2
    assert [client.state(id) for id in ids] == ["completed"] * 5


# --- files and pipes ---


def test_push_a_file(said: Said, client: FlashQ, queue: str, tmp_path: Path) -> None:
    """Each line is a job, in order, over more than one batch, with the options for all."""
    file = tmp_path / "jobs.ndjson"
    file.write_text("".join(f"{number}\n" for number in range(10_500)))
    assert said("push", queue, "--file", file, "--tag", "t") == "10500 jobs pushed\n"
    jobs = client.pull_batch(queue, 10_000) + client.pull_batch(queue, 10_000)
    assert [job.data for job in jobs] == list(range(10_500))
    assert jobs[-1].tags == ["t"]


def test_push_from_a_pipe(told: Told, said: Said, client: FlashQ, queue: str) -> None:
    """Whole jobs from stdin; places of duplicates count over the file."""
    lines = '{"data":1,"unique_key":"k"}\n\n{"data":2,"priority":9}\n{"data":3,"unique_key":"k"}\n'
    answer = told("push", queue, "--file", "-", "--whole", input=lines)
    assert answer["duplicates"] == [2]
    assert answer["ids"][2] == answer["ids"][0]
    assert [job.data for job in client.pull_batch(queue, 5)] == [2, 1]
    assert said("push", queue, "--file", "-", "--whole", input=lines) == "3 jobs pushed, 2 of them were there already\n"


def test_an_empty_file(told: Told, queue: str) -> None:
    """A file without lines is no mistake: a script that found nothing to do has nothing to push."""
    assert told("push", queue, "--file", "-", input="\n \n")["ids"] == []


def test_a_file_with_a_bad_line(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """The line is named, and how much of the file was pushed; of the batch with the bad line nothing was."""
    lines = "1\n" * 10_000 + "2\n{oops\n"
    sentence = said("push", queue, "--file", "-", input=lines, code=exits.USAGE)
    assert "line 10002 of <stdin>: not JSON" in sentence
    assert sentence.endswith("; 10000 jobs of the lines before were pushed\n")
    assert next(one for one in client.queues() if one.name == queue).pending == 10_000
    assert told("push", queue, "--file", "-", input="{", code=exits.USAGE)["code"] == "usage"


def test_a_file_that_the_server_refuses(said: Said, queue: str) -> None:
    """A refusal says in which lines it was and how much was pushed before."""
    big = f'"{"x" * 1_048_577}"\n'
    sentence = said("push", queue, "--file", "-", input="1\n" * 10_000 + "2\n" + big, code=exits.REFUSED)
    assert "Job data too large (1048579 bytes, max 1048576 bytes)" in sentence
    assert "in the batch of lines 10001 to 10002; 10000 jobs of the lines before were pushed [too_large]" in sentence


def test_through_pipes(url: str, queue: str) -> None:
    """Out of one command, into the next: what is pulled can be pushed again."""
    other = f"{queue}-again"
    assert shell(url, "push", queue, "--file", "-", input=b'"a"\n"b"\n').returncode == 0
    pulled = shell(url, "pull", queue, "--count", "10", "--ack", "--json")
    lines = "\n".join(json.dumps({"data": job["data"]}) for job in json.loads(pulled.stdout))
    assert shell(url, "push", other, "--file", "-", "--whole", input=lines.encode()).stdout == b"2 jobs pushed\n"


def test_a_reader_that_leaves(url: str, client: FlashQ, queue: str) -> None:
    """A closed pipe ends the command quietly: no traceback for whoever pipes into `head`."""
    with started(url, "events", queue) as events:
        assert events.stdout is not None
        _push_until(client, queue, lambda: _readable(events))
        events.stdout.readline()
        events.stdout.close()
        _push_until(client, queue, lambda: events.poll() is not None)
        assert events.stderr is not None
        assert events.stderr.read() == b""


def _push_until(client: FlashQ, queue: str, done: Callable[[], bool]) -> None:
    """Let things happen until somebody has noticed."""
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        client.push(queue, None)


def _readable(process: "subprocess.Popen[bytes]") -> bool:
    return bool(select.select([process.stdout], [], [], 0.02)[0])


@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(url: str, unbuffered: str) -> None:
    """An answer that cannot be written is an error and not a success, whether it fails at once or at the end."""
    for arguments in (["stats"], ["stats", "--json"], ["--help"]):
        with Path("/dev/full").open("wb") as full:
            command = [*FLASHQ, "--url", url, *arguments]
            environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, env=environment)
        assert done.returncode == exits.FAILED
        assert done.stderr.count(b"\n") == 1
        assert b"No space left" in done.stderr


# --- jobs ---


def test_jobs_list(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A table newest first for people, the jobs for programs; by queue and state, as many as asked for, or all."""
    ids = client.push_batch(queue, range(5))
    client.fail(client.pull(queue).id, "no \x1b[31m route", dead=True)  # type: ignore[union-attr]
    lines = said("jobs", "list", "--queue", queue).splitlines()
    assert lines[0].split() == ["id", "queue", "state", "priority", "attempts", "created", "message", "data"]
    assert [line.split()[0] for line in lines[1:]] == [str(id) for id in reversed(ids)]
    (dead,) = said("jobs", "list", "--queue", queue, "--state", "failed").splitlines()[1:]
    assert "no \\x1b[31m route" in dead
    assert [job["id"] for job in told("jobs", "list", "--queue", queue, "--limit", 2)] == ids[:2:-1]
    assert len(told("jobs", "list", "--queue", queue, "--limit", 1, "--all")) == 5
    assert said("jobs", "list", "--queue", queue, "--state", "delayed") == "no such jobs\n"


def test_explain(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """Sentences for people, typed facts for programs; an escape in a failure's text stays visible."""
    first, second = client.push_batch(queue, [{}, {}])
    client.pause(queue)
    assert said("explain", second).splitlines() == [
        f"job {second} in {queue} is waiting",
        f"- the queue is paused; flashq queues resume {queue}",
        "- 1 job goes first",
        "- nobody asks for jobs of the queue; none has been delivered since the server started",
    ]
    assert [reason["type"] for reason in told("explain", second)["reasons"]] == ["paused", "ahead", "no_worker"]
    client.resume(queue)
    client.fail(client.pull(queue).id, "no \x1b[31m route", delay=60_000)  # type: ignore[union-attr]
    (line,) = said("explain", first).splitlines()[1:]
    assert line.startswith("- it has failed once (no \\x1b[31m route) and is tried again at ")


def test_jobs_get(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """Everything about a job: aligned for people, the wire's members for programs."""
    id = client.push(queue, {"a": 1}, tags=["x"], timeout=1_500)
    shown = said("jobs", "get", id)
    assert re.search(r"^state +waiting$", shown, re.MULTILINE)
    assert re.search(r"^timeout +1\.5 s$", shown, re.MULTILINE)
    assert re.search(r"^attempts +0 failed of 3$", shown, re.MULTILINE)
    document = told("jobs", "get", id)
    assert document["data"] == {"a": 1}
    assert document["state"] == "waiting"


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "get", 900_000],
        ["jobs", "get", "--custom-id", "nobody"],
        ["jobs", "state", 900_000],
        ["explain", 900_000],
        ["jobs", "result", 900_000],
        ["jobs", "cancel", 900_000],
        ["jobs", "progress", 900_000],
        ["jobs", "ack", 900_000],
        ["jobs", "fail", 900_000],
        ["jobs", "heartbeat", 900_000],
        ["cron", "delete", "nobody"],
        ["webhook", "delete", "nobody"],
    ],
)
def test_nothing_there(said: Said, arguments: list[str | int], url: str) -> None:
    """A thing that is not there has one exit code, whichever verb asks for it."""
    result = CliRunner().invoke(program, ["--url", url, *map(str, arguments)])
    assert result.exit_code == exits.NOTHING
    assert result.stderr.count("\n") == 1
    assert "not found" in result.stderr


def test_flow(said: Said, told: Told, queue: str, tmp_path: Path) -> None:
    """The jobs of a file are pushed in one step; the last is given what the first returned."""
    jobs = [{"queue": queue, "data": "a"}, {"queue": f"{queue}-2", "data": "b", "after": [0], "collect": True}]
    file = tmp_path / "flow.ndjson"
    file.write_text("\n".join(map(json.dumps, jobs)))
    first, second = map(int, said("flow", file).split())
    assert second == first + 1
    told("pull", queue)
    said("jobs", "ack", first, "[1]")
    assert told("pull", f"{queue}-2")["inputs"] == [[1]]
    late = said("push", queue, "1", "--depends-on", first, "--collect").strip()
    assert told("jobs", "get", late)["inputs"] == [[1]]
    file.write_text(json.dumps({"queue": queue, "data": "a", "after": [0]}))
    assert told("flow", file, code=exits.REFUSED)["code"] == "bad_request"


def test_fail_for_later_or_for_good(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """The one who fails a job may say when it is tried again, or that it never is."""
    id = client.push(queue, {"n": 1}, backoff=0)
    client.pull(queue)
    assert said("jobs", "fail", id, "busy", "--delay", 60_000) == f"job {id} failed, now delayed\n"
    id = client.push(queue, {"n": 2})
    client.pull(queue)
    assert "either --delay or --dead" in said("jobs", "fail", id, "--dead", "--delay", 1, code=exits.USAGE)
    assert told("jobs", "fail", id, "--dead") == {"id": id, "state": "failed"}


def test_release(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A pulled job goes back, at once or for later, and its attempt is not counted."""
    id = client.push(queue, {"n": 1})
    client.pull(queue)
    assert said("jobs", "release", id) == f"job {id} released, now waiting\n"
    job = told("pull", queue)
    assert (job["id"], job["attempts"]) == (id, 0)
    assert told("jobs", "release", id, "--delay", 60_000, "--attempt", job["token"]) == {"id": id, "state": "delayed"}


def test_fail_and_dead_letters(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A job that fails too often is found among the dead letters, retried, fails again and is purged."""
    id = client.push(queue, {"n": 1}, max_attempts=1)
    client.pull(queue)
    assert said("jobs", "fail", id, "no such address") == f"job {id} failed, now failed\n"
    assert "no such address" in said("dlq", "list", queue)
    assert [job["progress_msg"] for job in told("dlq", "list", queue)] == ["no such address"]
    assert said("dlq", "retry", queue, "--id", id) == "1 dead letters run again\n"
    job = told("pull", queue)
    assert job["attempts"] == 0
    assert told("jobs", "fail", id, "again", "--attempt", job["token"]) == {"id": id, "state": "failed"}
    assert said("dlq", "purge", queue, code=exits.USAGE).startswith("flashq: nothing was removed")
    assert told("dlq", "purge", queue, "--yes") == {"count": 1}
    assert said("dlq", "list", queue) == f"no dead letters in {queue}\n"
    assert told("dlq", "retry", queue) == {"count": 0}


def test_a_stale_attempt(told: Told, client: FlashQ, queue: str) -> None:
    """A token of an attempt that has ended is refused by every verb that takes one."""
    id = client.push(queue, 1, backoff=0)
    old = client.pull(queue, 0)
    assert old is not None
    assert old.token is not None
    client.fail(old)
    client.pull(queue, 5_000)
    for verb in (["ack", id], ["fail", id], ["release", id], ["heartbeat", id], ["progress", id, 5]):
        assert told("jobs", *verb, "--attempt", old.token, code=exits.REFUSED)["code"] == "stale_attempt"


def test_progress_and_heartbeat(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """Progress is set and shown, and a sign of life is taken."""
    id = client.push(queue, 1)
    client.pull(queue)
    assert said("jobs", "progress", id, 40, "--message", "on the way") == f"job {id}: 40 %\n"
    assert said("jobs", "progress", id) == "40 %  on the way\n"
    assert told("jobs", "progress", id) == {"id": id, "progress": 40, "message": "on the way"}
    assert said("jobs", "heartbeat", id) == f"job {id} goes on\n"
    assert told("jobs", "heartbeat", id) == {"ok": True}


def test_results(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A job that is not done has no result; one that returned nothing has null."""
    id = client.push(queue, 1)
    assert said("jobs", "result", id, code=exits.NOTHING) == f"flashq: job {id} has no result: it is waiting\n"
    assert told("jobs", "result", id, code=exits.NOTHING)["code"] == "nothing"
    client.pull(queue)
    client.ack(id)
    assert said("jobs", "result", id) == "null\n"


def test_cancel(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A job can be taken back, once it is finished no more."""
    first, second = client.push_batch(queue, [1, 2])
    assert said("jobs", "cancel", first) == f"job {first} cancelled\n"
    client.pull(queue)
    client.ack(second)
    assert told("jobs", "cancel", second, code=exits.REFUSED)["code"] == "not_active"


# --- queues and schedules ---


def test_queues(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """Brakes are put on, listed, and taken off."""
    client.push(queue, 1)
    assert said("queues", "pause", queue) == f"{queue} is paused\n"
    assert said("queues", "rate-limit", queue, 50) == f"{queue}: at most 50 jobs a second\n"
    assert told("queues", "concurrency", queue, 4) == {"ok": True}
    row = next(line for line in said("queues", "list").splitlines() if line.startswith(f"{queue} "))
    assert row.split() == [queue, "1", "0", "0", "0", "0", "yes", "50", "4"]
    assert said("pull", queue, code=exits.NOTHING)
    assert told("queues", "resume", queue) == {"ok": True}
    assert said("queues", "rate-limit", queue, "--clear") == f"{queue}: no rate limit\n"
    assert said("queues", "concurrency", queue, "--clear") == f"{queue}: no concurrency limit\n"
    found = next(one for one in told("queues", "list") if one["name"] == queue)
    assert (found["paused"], found["rate_limit"], found["concurrency_limit"]) == (False, None, None)


def test_bad_queue_names(told: Told) -> None:
    """A name that no queue may have is the server's refusal, in its own words."""
    for name in ("", "a b", "x" * 257, "\x1b[2J"):
        error = told("push", name, "1", code=exits.REFUSED)
        assert error["code"] == "bad_request"
        assert error["error"].startswith("Queue name")


def test_cron(said: Said, told: Told, queue: str) -> None:
    """A schedule is set, listed and removed."""
    assert f"{queue} runs next at " in said("cron", "set", queue, queue, "0 3 * * *", '{"a":1}', "--priority", 3)
    assert told("cron", "set", queue, queue, "0 3 * * *", "--timezone", "Europe/Rome")["next_run"] > 0
    found = next(one for one in told("cron", "list") if one["name"] == queue)
    assert (found["schedule"], found["timezone"], found["priority"]) == ("0 3 * * *", "Europe/Rome", 0)
    assert re.search(rf"^{queue} +{queue} +0 3 \* \* \* +Europe/Rome", said("cron", "list"), re.MULTILINE)
    told("cron", "set", queue, queue, "0 3 * * *", "--ttl", 5, "--unique-key", "k", "--tag", "a", "--tag", "b")
    found = next(one for one in told("cron", "list") if one["name"] == queue)
    assert (found["ttl"], found["timeout"], found["unique_key"], found["tags"]) == (5, None, "k", ["a", "b"])
    assert said("cron", "delete", queue) == f"{queue} removed\n"


def test_webhook(said: Said, told: Told, queue: str, tmp_path: Path) -> None:
    """A webhook is registered, listed without its secret, and removed; what may not be called is refused."""
    file = tmp_path / "secret"
    file.write_text("hush\n")
    url = f"https://example.org/{queue}"
    id = told("webhook", "add", url, "--event", "failed", "--queue", queue, "--secret-file", file)["id"]
    found = next(one for one in told("webhook", "list") if one["id"] == id)
    assert (found["url"], found["events"], found["queue"], found["has_secret"]) == (url, ["failed"], queue, True)
    assert "hush" not in said("webhook", "list")
    assert said("webhook", "delete", id) == f"{id} removed\n"
    assert re.fullmatch(r"[0-9a-f]{16} registered\n", said("webhook", "add", url))
    (found,) = (one for one in told("webhook", "list") if one["url"] == url)
    assert (found["events"], found["queue"], found["has_secret"]) == (["*"], None, False)
    told("webhook", "delete", found["id"])
    assert told("webhook", "add", "http://10.0.0.1/", code=exits.REFUSED)["code"] == "bad_request"


@pytest.mark.parametrize("schedule", ["*/0", "never", "61 * * * *", "x" * 300])
def test_bad_schedules(told: Told, queue: str, schedule: str) -> None:
    """A schedule that cannot be read is the server's refusal."""
    assert told("cron", "set", queue, queue, schedule, code=exits.REFUSED)["code"] == "bad_request"


# --- the server ---


def test_ping(said: Said, told: Told) -> None:
    """A sign of life and how long it took."""
    assert re.fullmatch(r"ok, [\d.]+ ms\n", said("ping"))
    assert told("ping")["ok"] is True


def test_the_server_is_asked(said: Said, told: Told) -> None:
    """How it was set up, in words and as a document."""
    assert told("server", "settings")["storage"] in {"sqlite", "memory"}
    assert re.search(r"^storage +(sqlite|memory)$", said("server", "settings"), re.MULTILINE)


@pytest.mark.parametrize(("verb", "code"), [("shutdown", 0), ("restart", 100)])
def test_the_server_is_stopped(tmp_path: Path, verb: str, code: int) -> None:
    """It ends with the exit code that was asked for; once it is gone, the verb says so."""
    with ServerProcess(tmp_path, url=MEMORY, environment=kept_ports()) as server:
        url = f"flashq://127.0.0.1:{server.port}"
        assert shell(url, "server", verb).stdout.startswith(b"the server is stopping")
        assert server.wait() == code
        assert shell(url, "server", verb).returncode == exits.FAILED


def test_stats_and_metrics(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """The same counts for people and for programs."""
    client.push(queue, 1)
    stats = told("stats")
    assert set(stats) == {"queued", "processing", "delayed", "dlq", "completed", "waiting_children"}
    assert re.search(rf"^queued +{stats['queued']}$", said("stats"), re.MULTILINE)
    metrics = told("metrics")
    assert metrics["total_pushed"] > 0
    assert queue in {one["name"] for one in metrics["queues"]}
    assert re.search(rf"^{queue} +1 ", said("metrics"), re.MULTILINE)


def test_workers(said: Said, told: Told, client: FlashQ, queue: str) -> None:
    """A worker that has named itself is listed, however it has named itself."""
    name = f"worker-{queue}{HOSTILE}"
    client.hello(name, [queue], 3, host="somewhere", pid=42)
    assert next(one for one in told("workers") if one["id"] == name)["pid"] == 42
    assert f"worker-{queue}" in said("workers")
    client.bye(name)


def test_events(url: str, client: FlashQ, queue: str) -> None:
    """Events are followed as they happen, one line each, for people and for programs."""
    arguments = [queue, "--types", "completed,progress", "--count", "2", "--timeout", "20000"]
    lines = []
    for option in ([], ["--json"]):
        with started(url, *option, "events", *arguments) as events:
            _until_watched(client, queue, events)
            out, _ = events.communicate(timeout=30)
            lines.append(out.decode().splitlines())
    assert all(re.search(rf"(progress|completed) +{queue}  job \d+", line) for line in lines[0])
    assert all(json.loads(line)["queue"] == queue for line in lines[1])


def _until_watched(client: FlashQ, queue: str, events: "subprocess.Popen[bytes]") -> None:
    """Make events until the command has seen enough of them."""
    deadline = time.monotonic() + 30
    while events.poll() is None:
        assert time.monotonic() < deadline
        client.push(queue, 1)
        job = client.pull(queue)
        assert job is not None
        client.progress(job, 50)
        client.ack(job, {"a": 1})


def test_no_events(said: Said, told: Told, queue: str) -> None:
    """When nothing happens in time there is nothing, and an unknown type is refused."""
    assert said("events", queue, "--timeout", 20, code=exits.NOTHING) == "flashq: no event within 20 ms\n"
    assert told("events", queue, "--types", "exploded", code=exits.REFUSED)["code"] == "bad_request"


def test_bench(said: Said, told: Told, client: FlashQ) -> None:
    """The self-test says on which machine and how it measured, and leaves no job behind."""
    shown = said("bench", "--jobs", 300, "--batch", 100)
    assert "cores" in shown.splitlines()[0]
    assert len(re.findall(r"batches of 100 +300", shown)) == 4
    figures = told("bench", "--jobs", 50, "--batch", 100, "--size", 2)
    assert all(figure["jobs_per_second"] > 0 for figure in figures["figures"])
    assert all(one.pending == one.processing == 0 for one in client.queues() if one.name.startswith("bench-"))


def test_an_interrupted_bench(url: str, client: FlashQ) -> None:
    """Ctrl-C in the middle of the self-test leaves no job behind either."""
    before = {one.name for one in client.queues()}
    with started(url, "bench", "--jobs", "1000000") as bench:
        with client.subscribe("*", ["completed"]) as events:
            events.next(20_000)
        bench.send_signal(signal.SIGINT)
        _, err = bench.communicate(timeout=60)
    assert (bench.returncode, err) == (exits.INTERRUPTED, b"flashq: interrupted\n")
    left = [one for one in client.queues() if one.name.startswith("bench-") and one.name not in before]
    assert [(one.pending, one.processing) for one in left] == [(0, 0)] * len(left)


# --- tokens, addresses, interrupts ---


def test_tokens(guarded: ServerProcess) -> None:
    """A right token works from the option, the URL and the environment; none and a wrong one are refused."""
    open_url = f"flashq://127.0.0.1:{guarded.port}"
    with_token = open_url.replace("//", f"//{TOKEN}@")
    assert shell(open_url, "ping", "--token", TOKEN).returncode == 0
    assert shell("", "--url", with_token, "ping").returncode == 0
    assert shell(with_token, "ping").returncode == 0
    for arguments in (["stats"], ["stats", "--token", "wrong"]):
        refused = shell(open_url, *arguments)
        assert refused.returncode == exits.REFUSED
        assert refused.stderr.endswith(b"[unauthorized]\n")
        assert refused.stderr.count(b"\n") == 1
        assert refused.stdout == b""


def test_a_unix_socket(process: ServerProcess) -> None:
    """The address of a Unix socket works as any other."""
    assert shell(f"flashq+unix://{process.socket_path}", "ping").returncode == 0
    assert shell(f"flashq+unix://{process.socket_path}-not-there", "ping").returncode == exits.FAILED


def test_somebody_else_answers(tmp_path: Path) -> None:
    """An answer that is no answer is told in one line."""
    answer = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
    answer += "c = s.accept()[0]; c.recv(100); c.sendall(b'HTTP/1.1 400 \\x1b[2J Bad Request\\r\\n\\r\\n'); c.recv(100)"
    with subprocess.Popen([sys.executable, "-c", answer], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        result = shell(f"flashq://127.0.0.1:{port}", "ping")
    assert result.returncode == exits.FAILED
    assert result.stderr.count(b"\n") == 1
    assert b"\x1b" not in result.stderr


@pytest.mark.parametrize("arguments", [["pull", "empty", "--timeout", "60000"], ["events", "empty"]])
def test_ctrl_c(url: str, client: FlashQ, arguments: list[str]) -> None:
    """Whoever waits may stop waiting: one line, and the code that shells expect."""
    with started(url, *arguments) as waiting:
        _until_waiting(waiting)
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, err) == (exits.INTERRUPTED, b"flashq: interrupted\n")


def _until_waiting(process: "subprocess.Popen[bytes]") -> None:
    """Until a process has a connection and sleeps: it has asked, and nobody answers."""
    folder = Path(f"/proc/{process.pid}")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):  # closed while we looked
            sockets = [link for link in (folder / "fd").iterdir() if str(link.readlink()).startswith("socket:")]
            if sockets and (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S":
                return
    raise AssertionError("it never waited")


def test_the_server_goes_away(tmp_path: Path) -> None:
    """Who follows events of a server that ends is told so, rather than to wait for ever."""
    with ServerProcess(tmp_path, url=MEMORY) as server:
        url = f"flashq://127.0.0.1:{server.port}"
        with started(url, "events") as events:
            with FlashQ(url) as client:
                _push_until(client, "q", lambda: _readable(events))
            server.stop()
            _, err = events.communicate(timeout=20)
    assert events.returncode == exits.FAILED
    assert err.count(b"\n") == 1


# --- hostile data on a terminal ---


def on_a_terminal(url: str, *arguments: str) -> str:
    """What a verb writes to a terminal, output and errors."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "FLASHQ_URL": url, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen([*FLASHQ, *arguments], env=environment, stdout=theirs, stderr=theirs, stdin=theirs) as verb:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            written += piece
        verb.wait(20)
    os.close(ours)
    return written.decode()


STYLE = re.compile(r"\x1b\[[\d;]*m")
"""What the command line itself may send to a terminal in an answer: colours of headings."""


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_hostile_data_on_a_terminal(url: str, client: FlashQ, queue: str, option: list[str]) -> None:
    """Whatever a pusher or worker has written, looking at it changes nothing on the terminal."""
    id = client.push(queue, {"text": HOSTILE, HOSTILE: 1}, max_attempts=1, tags=[HOSTILE], job_id=f"{queue}{HOSTILE}")
    other = client.push(queue, {"text": HOSTILE})
    client.set_cron(f"{queue}{HOSTILE}", queue, "0 0 1 1 *", HOSTILE)
    client.pull(queue)
    client.progress(id, 1, HOSTILE)
    verbs = [
        ["jobs", "get", str(id)],
        ["jobs", "progress", str(id)],
        ["jobs", "get", "--custom-id", f"nobody{HOSTILE}"],
        ["jobs", "fail", str(id), HOSTILE],
        ["dlq", "list", queue],
        ["pull", queue, "--ack"],
        ["jobs", "get", str(other)],
        ["cron", "list"],
        ["cron", "delete", f"nobody{HOSTILE}"],
        ["push", HOSTILE, "1"],
        ["push", queue, HOSTILE],
        [HOSTILE],
    ]
    for verb in verbs:
        shown = on_a_terminal(url, *option, *verb)
        hidden = [char for char in STYLE.sub("", shown) if not char.isprintable() and char not in "\r\n"]
        assert hidden == [], verb
    client.delete_cron(f"{queue}{HOSTILE}")


def test_progress_on_a_terminal(url: str, queue: str, tmp_path: Path) -> None:
    """Somebody who pushes a large file sees how far it is."""
    file = tmp_path / "jobs.ndjson"
    file.write_text("1\n" * 30_000)
    shown = on_a_terminal(url, "push", queue, "--file", str(file))
    assert f"push to {queue}" in shown
    assert "30000 jobs pushed" in shown


def test_a_question_on_a_terminal(url: str, client: FlashQ, queue: str) -> None:
    """Before dead letters are removed, somebody at a terminal is asked, and a no removes nothing."""
    client.push(queue, 1, max_attempts=1)
    job = client.pull(queue)
    assert job is not None
    client.fail(job)
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    command = [*FLASHQ, "--url", url, "dlq", "purge", queue]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as purge:
        assert purge.wait(20) == exits.USAGE
    os.write(ours, b"y\n")
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as purge:
        assert purge.wait(20) == exits.OK
    os.close(ours)
    os.close(theirs)
    assert client.dead_letters(queue) == []


# --- serve ---


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "PORT must be between 0 and 65535"),
        (["--durability", "maybe"], "DURABILITY must be one of full, relaxed"),
        (["--host", ""], "HOST is set but empty"),
        (["--host", "256.0.0.1", "--database-url", MEMORY], "cannot start"),
        (["--database-url", "mysql://root:hunter2@db"], "unknown storage"),
        (["--database-url", "sqlite:////proc/no/such/flashq.db"], "flashq: "),
    ],
)
def test_a_server_that_cannot_start(arguments: list[str], sentence: str) -> None:
    """A wrong setting is one clear line and code 1, without the secrets in it."""
    done = shell("", "serve", *arguments)
    assert done.returncode == exits.FAILED
    assert done.stderr.decode().startswith("flashq: ")
    assert sentence in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert b"hunter2" not in done.stderr
    assert done.stdout == b""


def test_a_port_that_is_taken(process: ServerProcess) -> None:
    """A second server on the same port says so and ends."""
    done = shell("", "serve", "--port", str(process.port), "--database-url", MEMORY)
    assert done.returncode == exits.FAILED
    assert done.stderr.count(b"\n") == 1


def test_serve_for_programs(tmp_path: Path) -> None:
    """With --json the server says where it is as a document, and leaves in good order when it is asked to."""
    options = ["--port", "0", "--data-dir", str(tmp_path / "data"), "--json"]
    with subprocess.Popen([*FLASHQ, "serve", *options], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        assert ready["durability"] == "full"
        assert shell(f"flashq://{ready['host']}:{ready['port']}", "ping").returncode == 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
