"""Cron expressions: instants that lie ahead, in whole seconds, whichever moment one looks from; or BadRequest."""

from collections.abc import Iterator
from typing import Final

from tests.fuzz.endings import refused
from tests.fuzz.seeds import literals

from flashq.engine.cronexpr import NICKNAMES, parse
from flashq.errors import BadRequest

WORDS: Final = (
    *NICKNAMES,
    *("*/", "* * * * *", "0 0 31 2 *", "L", "W", "#", "?", "MON", "DEC", "sun-sat", "1-5/2", ",", "29 2", "\0"),
    *("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Etc/GMT+12", "localtime"),
)
MAX_BYTES: Final = 400
MOST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""


def seeds() -> Iterator[bytes]:
    """The schedules of the tests, in several zones and years."""
    zones = (b"", b"Europe/Berlin", b"Australia/Lord_Howe", b"nowhere")
    for place, text in enumerate(literals("tests/unit/engine/test_cronexpr.py", "tests/unit/engine/test_cron.py")):
        if len(text) < 60:
            yield b"\0".join((text, zones[place % len(zones)], b"%d" % (place * 1_000_000_000)))


def read(data: bytes) -> str:
    """Schedule, zone and moment, with a zero byte between them."""
    schedule, _, rest = data.partition(b"\0")
    zone, _, digits = rest.partition(b"\0")
    moment = int(digits[:15]) % MOST_MS if digits[:15].isdigit() else 1_700_000_000_000
    try:
        found = parse(schedule.decode(errors="replace"), zone.decode(errors="replace") or None)
    except BadRequest as error:
        return refused(error)
    instant = found.next_after(moment)
    if instant is None:
        return f"{type(found).__name__}: never again"
    assert instant > moment, "fires in the past"
    assert instant % 1000 == 0, "fires between two seconds"
    assert found.next_after(instant - 1) == instant, "fires at another time when one looks later"
    between = moment + (instant - moment) // 2
    assert found.next_after(between) == instant, "fires at another time when one looks from halfway"
    return type(found).__name__
