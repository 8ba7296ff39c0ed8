"""What Prometheus reads: the names of the contract, a format that nothing breaks, and a bound on the series."""

import json
import re
from platform import python_version

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.figures import NOW, figures, queue
from tests.tidy.source import ROOT

from flashq.observe import prometheus
from flashq.observe.figures import Figures, QueueFigures
from flashq.observe.prometheus import MAX_QUEUES_SHOWN, OTHER, exposition, shown

_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
LINE = re.compile(
    rf"# HELP [a-z_]+ .+\n|# TYPE [a-z_]+ (?:counter|gauge|histogram)\n"
    rf"|[a-z_]+(?:\{{{_LABEL}(?:,{_LABEL})*\}})? [-+]?[\d.e+-]+\n"
)
"""A line of the format 0.0.4, as strictly as its grammar has it."""

Series = tuple[str, tuple[tuple[str, str], ...]]


def series(figures: Figures) -> dict[Series, float]:
    """Every series of the page, ours only, read by the format's own parser; none twice."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(exposition(figures).decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return {key: value for key, value in found.items() if key[0].startswith("flashq_")}


def queues_of(found: dict[Series, float]) -> set[str]:
    """The queues that have a series."""
    return {dict(labels)["queue"] for name, labels in found if name == "flashq_queue_jobs"}


def test_the_names_of_the_contract() -> None:
    """Dashboards are written for these names, and each number is the one that its name says."""
    found = series(figures(QueueFigures("emails", 1, 2, 3, 4, 5, NOW - 2_500)))
    states = {"waiting": 11, "active": 12, "delayed": 13, "failed": 14, "waiting-children": 16}
    of_queue = {"waiting": 1, "delayed": 2, "active": 3, "failed": 4, "waiting-children": 5}
    about = {"version": "1.2.3", "python": python_version(), "storage": "sqlite", "durability": "full"}
    expected: dict[Series, float] = {
        ("flashq_jobs_pushed_total", ()): 101,
        ("flashq_jobs_completed_total", ()): 102,
        ("flashq_jobs_failed_total", ()): 103,
        ("flashq_jobs_cancelled_total", ()): 104,
        ("flashq_jobs_expired_total", ()): 105,
        ("flashq_jobs_purged_total", ()): 106,
        ("flashq_jobs_retried_total", ()): 21,
        ("flashq_jobs_timed_out_total", ()): 22,
        **{("flashq_jobs_current", (("state", state),)): count for state, count in states.items()},
        ("flashq_throughput_per_second", ()): 23.5,
        ("flashq_latency_ms", ()): 24.5,
        **{("flashq_queue_jobs", (("queue", "emails"), ("state", state))): n for state, n in of_queue.items()},
        ("flashq_queue_oldest_waiting_seconds", (("queue", "emails"),)): 2.5,
        ("flashq_queues", ()): 1,
        ("flashq_workers_active", ()): 31,
        ("flashq_crons", ()): 32,
        ("flashq_connections", ()): 33,
        ("flashq_calls_waiting", ()): 34,
        ("flashq_memory_bytes", ()): 35,
        ("flashq_memory_limit_bytes", ()): 36,
        ("flashq_unsynced_bytes", ()): 37,
        ("flashq_clock_jumps_total", ()): 38,
        ("flashq_storage_away", ()): 1,
        ("flashq_build_info", tuple(sorted(about.items()))): 1,
    }
    assert {key: value for key, value in found.items() if not re.search("_seconds_(bucket|sum|count)$", key[0])} == (
        expected
    )


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("flashq_wait_seconds", (1, 2, 3)), ("flashq_run_seconds", (4, 5, 6)),
        ("flashq_commit_seconds", (7, 8, 9)), ("flashq_loop_lag_seconds", (10, 11, 12)),
    ],
)  # fmt: skip
def test_times_are_histograms_of_seconds(name: str, counts: tuple[int, int, int]) -> None:
    """Buckets are cumulative, and everything is in seconds."""
    found = {key: value for key, value in series(figures()).items() if key[0].startswith(name + "_")}
    low, middle, high = counts
    assert found == {
        (f"{name}_bucket", (("le", "0.001"),)): low,
        (f"{name}_bucket", (("le", "0.01"),)): low + middle,
        (f"{name}_bucket", (("le", "+Inf"),)): low + middle + high,
        (f"{name}_count", ()): low + middle + high,
        (f"{name}_sum", ()): pytest.approx(1 + (low + middle + high) / 1_000),
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=20), unique=True, max_size=5))
def test_no_name_breaks_the_format(names: list[str]) -> None:
    """Whatever a queue may ever be called: every line is one of the grammar, and the name comes back as it was."""
    page = exposition(figures(*map(queue, names)))
    lines = page.decode().split("\n")
    assert lines.pop() == ""
    assert [line for line in lines if not LINE.fullmatch(line + "\n")] == []
    found = {
        dict(labels)["queue"] for (name, labels) in series(figures(*map(queue, names))) if name == "flashq_queue_jobs"
    }
    assert found == set(names)


HOSTILE = ['"', "\\", "\n", 'a"} 1\nflashq_jobs_pushed_total 0\n#', "\\n", '\\\\"', "\r", "\u2028", "{}", 'x",state="y']


def test_hostile_names_forge_no_series() -> None:
    """Quotes, line breaks and backslashes stay within the label."""
    found = series(figures(*map(queue, HOSTILE)))
    assert found["flashq_jobs_pushed_total", ()] == 101
    assert queues_of(found) == set(HOSTILE)


def test_series_are_bounded() -> None:
    """However many queues there are: those with the most jobs, and one for all others."""
    queues = [queue(f"q{number}", number, NOW - number) for number in range(MAX_QUEUES_SHOWN + 3)]
    found = series(figures(*queues))
    assert len(queues_of(found)) == MAX_QUEUES_SHOWN + 1
    assert {"q0", "q1", "q2"} & queues_of(found) == set()
    assert found["flashq_queue_jobs", (("queue", OTHER), ("state", "waiting"))] == 0 + 1 + 2
    assert found["flashq_queue_oldest_waiting_seconds", (("queue", OTHER),)] == 0.002
    assert found["flashq_queues", ()] == MAX_QUEUES_SHOWN + 3


def test_the_others_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each state by itself; the oldest of all is the oldest, and those without a waiting job do not count as old."""
    monkeypatch.setattr(prometheus, "MAX_QUEUES_SHOWN", 1)
    queues = [
        QueueFigures("a", 1, 2, 3, 4, 5, 0),
        QueueFigures("b", 10, 20, 30, 40, 50, 700),
        QueueFigures("c", 100, 200, 300, 400, 500, 600),
        QueueFigures("d", 1_000, 2_000, 3_000, 4_000, 5_000, 500),
    ]
    assert shown(queues) == [queues[3], QueueFigures(OTHER, 111, 222, 333, 444, 555, 600)]


def test_without_too_many_there_are_no_others() -> None:
    """All queues by name, whatever they hold."""
    assert [each.name for each in shown([queue("b", 1), queue("a")])] == ["a", "b"]


def test_a_job_that_will_have_waited_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the wall clock was set back a job may be ready since a moment that is still to come: that is 0."""
    found = series(figures(queue("q", 1, NOW + 5_000)))
    assert found["flashq_queue_oldest_waiting_seconds", (("queue", "q"),)] == 0


def _documented() -> set[str]:
    return set(re.findall(r"^\| `(flashq_\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))


def _shown() -> set[str]:
    page = exposition(figures(queue("q"))).decode()
    return set(re.findall(r"^# TYPE (flashq_\w+)", page, re.MULTILINE))


def test_every_metric_is_documented() -> None:
    """docs/metrics.md says of each what it means, and of none that is not there."""
    assert _documented() == _shown()


def test_the_dashboard_can_be_read() -> None:
    """It is JSON, and each of its panels asks for something under a number of its own."""
    panels = json.loads((ROOT / "docs" / "grafana.json").read_text())["panels"]
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yaml"])
def test_dashboards_name_metrics_that_exist(file: str) -> None:
    """A panel or an alert over a metric that is not there shows nothing, and says nothing."""
    named = set(re.findall(r"flashq_\w+", (ROOT / "docs" / file).read_text()))
    named = {re.sub("_(bucket|sum|count)$", "", name) for name in named}
    assert named
    assert named - _shown() == set()
