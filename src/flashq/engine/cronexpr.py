"""When a schedule fires next: ``*/N`` seconds, or five or six cron fields in a time zone.

cronsim knows the calendar (fields, names, steps, leap days); it is only ever asked about *naive* local times. What
daylight saving does to a local time is decided here, because the rule is part of what we promise and because a
library's rule would change under us:

* **Fixed** schedules (neither the minute nor the hour field starts with ``*``) mean "once at that time of day". A local
  time that the clocks skip fires once, at the first instant after the gap; one that is repeated fires at its
  first occurrence only.
* **Wildcard** schedules (hourly, every ten minutes ...) follow elapsed time: every instant whose local reading matches
  fires, which makes 23 hourly firings on the short day and 25 on the long one.
* **Intervals** (``*/N`` alone) know no zone. They are aligned to multiples of N seconds since the Unix epoch, not to
  the moment they were set: so the instants are the same before and after a restart, and "one job at most for an
  instant" has a meaning.

All instants are whole seconds. Nothing here reads a clock: the caller says from when to look.
"""

import re
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from flashq.errors import BadRequest
from flashq.protocol.limits import MAX_DURATION_MS, MAX_SCHEDULE_CHARS

DEFAULT_TIMEZONE: Final = "UTC"

MAX_INTERVAL_S: Final = MAX_DURATION_MS // 1000
"""As for every other duration: a longer interval is a slip of the unit."""

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_EPOCH: Final = datetime(1970, 1, 1)  # naive on purpose: it measures local readings as well as UTC
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PROBE: Final = datetime(2000, 1, 1)
"""Where a new expression is tried. The calendar repeats, so what never fires after this date never fires."""

_DAY: Final = 86_400
_WINDOW: Final = 2 * _DAY
"""Longer than any shift a zone ever made (24 h, over the date line), shorter than the time between two shifts."""

_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_NOT_ZONES: Final = re.compile(r"(localtime|posixrules|(right|posix)/.*)")
"""Files that lie beside the zones: they mean another thing on every machine, or count leap seconds."""


class Schedule(ABC):
    """Something that fires at certain instants.

    Attributes:
        timezone: the IANA name of the zone in which the fields are read.
    """

    timezone: str

    @abstractmethod
    def next_after(self, wall_ms: int) -> int | None:
        """The first instant strictly after a moment.

        Args:
            wall_ms: the moment, in ms since the Unix epoch.

        Returns:
            The instant in ms since the Unix epoch, or None if there is none before the calendar ends.
        """


class Interval(Schedule):
    """Every N seconds, at multiples of N seconds since the Unix epoch."""

    def __init__(self, seconds: int, timezone: str) -> None:
        self.timezone = timezone
        self._period_ms = seconds * 1000

    def next_after(self, wall_ms: int) -> int | None:
        """See `Schedule.next_after`."""
        return (wall_ms // self._period_ms + 1) * self._period_ms


class Calendar(Schedule):
    """Cron fields in a time zone. Works in whole seconds; *reading* = seconds that a local clock shows, as if UTC."""

    def __init__(self, fields: list[str], timezone: str, zone: ZoneInfo) -> None:
        self.timezone = timezone
        self._zone = zone
        self._wildcard = fields[1].startswith("*") or fields[2].startswith("*")
        self._fields = CronSim(" ".join(fields), _PROBE)

    def next_after(self, wall_ms: int) -> int | None:
        """See `Schedule.next_after`."""
        after = wall_ms // 1000
        try:
            instant = self._next_matching(after) if self._wildcard else self._next_meant(after)
        except (StopIteration, OverflowError):  # fifty years without a match; or past the year 9999
            return None
        return instant * 1000

    def fires(self) -> bool:
        """Whether any date of the calendar matches."""
        try:
            self._reading_after(_seconds(_PROBE))
        except StopIteration:
            return False
        return True

    def _next_matching(self, after: int) -> int:
        """The wildcard rule: the first instant whose reading matches."""
        while True:
            end = after + _WINDOW
            for start, stop, offset in self._stretches(after, end):
                instant = self._reading_after(start + offset) - offset
                if instant <= stop:
                    return instant
            # Nothing in the window, so the clocks that go back in it hide nothing: go near the next match.
            after = max(end, instant - _DAY)

    def _next_meant(self, after: int) -> int:
        """The fixed rule: the next reading, at its first occurrence or right after the gap that swallowed it."""
        offset, fold = self._offset_at(after)
        reading = after + offset
        if fold:  # The clocks show this hour for the second time: all its readings have had their turn.
            shift = self._shift_before(after)
            reading = shift - 1 + self._offset_at(shift - 1)[0]
        return self._instant_of(self._reading_after(reading))

    def _instant_of(self, reading: int) -> int:
        local = (_EPOCH + timedelta(seconds=reading)).replace(tzinfo=self._zone)
        instant = reading - _whole_seconds(local.utcoffset())
        skipped = instant + self._offset_at(instant)[0] != reading
        return self._shift_before(instant) if skipped else instant

    def _stretches(self, after: int, end: int) -> list[tuple[int, int, int]]:
        """The instants from ``after`` (not included) to ``end``, cut where the clocks shift: (start, stop, offset)."""
        before, later = self._offset_at(after)[0], self._offset_at(end)[0]
        if before == later:
            return [(after, end, before)]
        shift = self._shift_between(after, end)
        return [(after, shift - 1, before), (shift - 1, end, later)]

    def _shift_before(self, instant: int) -> int:
        """The newest shift of the clocks, known to be at most a window ago."""
        return self._shift_between(instant - _WINDOW, instant)

    def _shift_between(self, low: int, high: int) -> int:
        """The first instant of the new offset, by halving: there is one shift after ``low`` and up to ``high``."""
        old = self._offset_at(low)[0]
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset_at(middle)[0] == old:
                low = middle
            else:
                high = middle
        return high

    def _offset_at(self, instant: int) -> tuple[int, int]:
        """Seconds east of UTC at an instant, and whether its reading is shown for the second time."""
        local = (_EPOCH_UTC + timedelta(seconds=instant)).astimezone(self._zone)
        return _whole_seconds(local.utcoffset()), local.fold

    def _reading_after(self, reading: int) -> int:
        """The first reading after this one that the fields match. Raises StopIteration when there is none."""
        self._fields.dt = _EPOCH + timedelta(seconds=reading)
        return _seconds(next(self._fields))


def parse(schedule: str, timezone: str | None) -> Schedule:
    """Read a schedule as a client wrote it.

    Args:
        schedule: ``*/N`` (every N seconds), six fields (second minute hour day month weekday), five fields (without the
            second), or a nickname such as ``@daily``. If both day fields are restricted (neither starts with
            ``*``), a date matches when either does.
        timezone: an IANA name, None for UTC.

    Raises:
        BadRequest: too long, malformed, out of range, an unknown zone, or a date that never comes (30 February).
    """
    if len(schedule) > MAX_SCHEDULE_CHARS:
        raise BadRequest(f"Cron schedule too long ({len(schedule)} chars, max {MAX_SCHEDULE_CHARS} chars)")
    name = DEFAULT_TIMEZONE if timezone is None else timezone
    zone = _zone(name)
    words = schedule.split()
    if len(words) == 1 and words[0].startswith("*/"):
        return Interval(_interval_seconds(schedule, words[0]), name)
    return _calendar(schedule, words, name, zone)


def _interval_seconds(schedule: str, word: str) -> int:
    digits = word[2:]
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= MAX_INTERVAL_S):
        raise BadRequest(f"Invalid interval format: {schedule}")
    return int(digits)


def _calendar(schedule: str, words: list[str], name: str, zone: ZoneInfo) -> Calendar:
    try:
        calendar = Calendar(_six_fields(words), name, zone)
    except CronSimError as error:
        raise BadRequest(f"Invalid cron expression '{schedule}': {error}") from error
    if not calendar.fires():
        raise BadRequest(f"Invalid cron expression '{schedule}': no date ever matches")
    return calendar


def _six_fields(words: list[str]) -> list[str]:
    """Bring all spellings to the six fields that cronsim reads. Raises CronSimError."""
    if not "".join(words).isascii():  # upper-casing turns a few other letters into ASCII ones
        raise CronSimError("only ASCII characters are allowed")
    if len(words) == 1 and words[0].startswith("@"):
        words = _nickname(words[0])
    if len(words) == 5:
        words = ["0", *words]
    if len(words) != 6:
        raise CronSimError(f"5 or 6 fields expected, {len(words)} found")
    return [*words[:3], _any_day(words[3]), words[4], _any_day(words[5])]


def _nickname(word: str) -> list[str]:
    try:
        return NICKNAMES[word.lower()].split()
    except KeyError:
        raise CronSimError(f"unknown nickname, known are {' '.join(NICKNAMES)}") from None


def _any_day(field: str) -> str:
    """``?`` is how some crons write "any" in the two day fields."""
    return "*" if field == "?" else field


def _zone(name: str) -> ZoneInfo:
    """A zone by its IANA name. Raises BadRequest."""
    if _ZONE_NAME.fullmatch(name) and not _NOT_ZONES.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # no such file; not a zone file; a folder
            pass
    raise BadRequest(f"Invalid: timezone names unknown zone '{name}'")


def _seconds(reading: datetime) -> int:
    return _whole_seconds(reading - _EPOCH)


def _whole_seconds(span: timedelta | None) -> int:
    assert span is not None  # only a datetime without a zone has no offset
    return span.days * _DAY + span.seconds
