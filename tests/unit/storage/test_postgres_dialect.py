"""What PostgreSQL cannot store is stored another way, and an unfinished window leaves nothing behind that counts."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.postgres import Databases
from tests.unit.storage.test_tables import apply, batch, window
from tools.postgres import query

from flashq.engine.records import Added, JobRow, Pushed, rows_of
from flashq.model import DELAYED
from flashq.storage import postgres_dialect
from flashq.storage import postgres_statements as sql
from flashq.storage.postgres_dialect import PostgresDialect, _safe, _unsafe
from flashq.storage.postgres_session import Refused, Session
from flashq.storage.records import encode
from flashq.storage.tables import Tables

ODD = JobRow(1, "q", DELAYED, 0, 1, 2, 0, 0, 3, 0, 0, 0, b'"\xc3\xa4"', "k\0", "\x1a", None, None, 0, "m\0\x1a")


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    """The owner of a database with the schema."""
    with databases.owned() as session:
        yield session


@given(st.text(st.sampled_from("a0\0\x1a")))
def test_any_text_comes_back(text: str) -> None:
    """A zero byte, the escape itself and what looks like both."""
    assert "\0" not in _safe(text)
    assert _unsafe(_safe(text)) == text


def test_odd_texts_are_stored(session: Session) -> None:
    """Those of jobs, one by one and as a batch, whose queue is named oddly."""
    tables = Tables(PostgresDialect(session))
    pushed = Pushed("a\0b", 2, 1, 0, 3, 0, 0, 0, [b"1"] * 40)
    apply(tables, Added(ODD), pushed)
    assert list(tables.snapshot().rows()) == [ODD, *rows_of(pushed)]
    assert [row.name for row in tables.snapshot().queues] == ["a\0b", "q"]


def test_people_can_read_it(session: Session) -> None:
    """Payloads are text, times are times and states are words."""
    apply(Tables(PostgresDialect(session)), batch(1, 1))
    seen = query(session._url, "SELECT id, queue, state, created, data::json #>> '{}' FROM flashq.job_list")
    assert seen == ["1|mail|waiting|1970-01-01 00:00:00.1+00|1"]


def test_a_slice_of_a_replaced_server_is_refused(session: Session) -> None:
    """The tables belong to its successor."""
    slices = window(Tables(PostgresDialect(session)), batch(1, 5))
    session.fetch("UPDATE lease SET epoch = epoch + 1")
    with pytest.raises(Refused) as refused:
        next(slices)
    assert refused.value.sqlstate == "FQ001"
    session.connect()
    assert session.fetch("SELECT count(*) FROM jobs")[0][0] == 0


def test_pages_are_bounded_by_bytes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jobs and of groups; one that is larger than a page is a page."""
    monkeypatch.setattr(postgres_dialect, "PAGE_BYTES", 100)
    tables = Tables(PostgresDialect(session))
    for number in range(1, 6):
        session.fetch(sql.COMMIT, 1, number, encode([batch(1, 40)]))
    pages = 0
    fetch = session.fetch

    def counted(text: str, *values: object) -> list[object]:
        nonlocal pages
        pages += text in (sql.GROUPS, sql.SELECT_JOBS)
        return fetch(text, *values)

    monkeypatch.setattr(session, "fetch", counted)
    assert [number for number, _ in tables.groups(2)] == [3, 4, 5]
    assert pages == 4
    pages = 0
    apply(tables, Pushed("mail", 1, 100, 0, 3, 0, 0, 0, [b'"%s"' % (b"x" * 48)] * 4))
    assert len(list(tables.snapshot().rows())) == 4
    assert pages == 3
