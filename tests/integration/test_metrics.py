"""Watching a real server: what it did is what it shows, whatever it holds."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, ServerProcess

Series = dict[tuple[str, str], float]


def look(web: HttpClient) -> Series:
    """All series, by name and by what stands in their labels."""
    page = web.ask("GET", "/metrics/prometheus")
    assert page.status == 200
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
    }


def test_what_happened_is_shown(tmp_path: Path) -> None:
    """Jobs each way through the queue, the disk, the clients and the process: nothing is 0 that should not be."""
    with ServerProcess(tmp_path) as server, HttpClient(server.http_port) as web, server.client() as client:
        ids = client.ok("PUSHB", queue="emails", jobs=[{"data": 1, "max_attempts": 1}] * 4)["ids"]
        client.ok("PULLB", queue="emails", count=3, timeout=0)
        client.ok("ACK", id=ids[0])
        client.ok("FAIL", id=ids[1], error="why")
        client.ok("CRON", name="c", queue="later", schedule="0 0 1 1 *")
        client.ok("HELLO", worker="w")
        seen = look(web)
        history = web.data("GET", "/metrics/history")
    assert seen["flashq_jobs_pushed_total", ""] == 4
    assert seen["flashq_jobs_completed_total", ""] == 1
    assert seen["flashq_jobs_failed_total", ""] == 1
    assert {state: seen["flashq_queue_jobs", f"emails {state}"] for state in ("waiting", "active", "failed")} == {
        "waiting": 1, "active": 1, "failed": 1,
    }  # fmt: skip
    assert seen["flashq_wait_seconds_count", ""] == 3
    assert seen["flashq_run_seconds_count", ""] == 2
    assert seen["flashq_commit_seconds_count", ""] >= 1
    assert seen["flashq_commit_seconds_sum", ""] > 0
    assert seen["flashq_connections", ""] == 2
    assert (seen["flashq_crons", ""], seen["flashq_workers_active", ""]) == (1, 1)
    assert seen["flashq_memory_bytes", ""] > 0
    assert seen["process_resident_memory_bytes", ""] > 10**6
    assert isinstance(history, list)


def test_counters_go_on_after_a_restart(tmp_path: Path) -> None:
    """What storage remembers is counted on; a counter that fell would be read as a new beginning."""
    with ServerProcess(tmp_path) as server:
        with server.client() as client:
            client.ok("PUSHB", queue="q", jobs=[{"data": 1}] * 5)
        assert server.stop() == 0
        server.start()
        with HttpClient(server.http_port) as web, server.client() as client:
            client.ok("PUSH", queue="q", data=1)
            seen = look(web)
    assert seen["flashq_jobs_pushed_total", ""] == 6
    assert seen["flashq_queue_jobs", "q waiting"] == 6


def test_it_is_not_for_everybody(tmp_path: Path) -> None:
    """With tokens, one is needed; with it Prometheus gets in as any client does."""
    with ServerProcess(tmp_path, url=MEMORY, environment={"AUTH_TOKENS": "a-token"}) as server:
        with HttpClient(server.http_port) as anonymous:
            for path in ("/metrics/prometheus", "/metrics/history"):
                assert anonymous.refused("GET", path)[:2] == (401, "unauthorized")
        with HttpClient(server.http_port, "a-token") as web:
            assert look(web)["flashq_jobs_pushed_total", ""] == 0
            assert isinstance(web.data("GET", "/metrics/history"), list)


def test_ten_thousand_queues(tmp_path: Path) -> None:
    """The page stays bounded, everything is in it, and clients are answered while it is made."""
    with (
        ServerProcess(tmp_path, url=MEMORY) as server,
        HttpClient(server.http_port) as web,
        server.client() as client,
    ):
        for start in range(0, 10_000, 1_000):
            flow = [{"queue": f"q{number}", "data": 1} for number in range(start, start + 1_000)]
            client.ok("PUSHFLOW", jobs=flow)
        client.ok("PUSH", queue="q7", data=1)
        web.send("GET", "/metrics/prometheus")
        client.ok("PING")
        page = web.receive().body.decode()
    (jobs_now,) = (each for each in text_string_to_metric_families(page) if each.name == "flashq_queue_jobs")
    jobs = {(sample.labels["queue"], sample.labels["state"]): sample.value for sample in jobs_now.samples}
    assert len(jobs) == 5 * 1_001
    assert jobs["q7", "waiting"] == 2
    assert jobs["(other)", "waiting"] == 9_000
    assert sum(jobs.values()) == 10_001
