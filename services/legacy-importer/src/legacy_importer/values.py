"""Reads whole numbers from SQL Server's numeric types, and dates and instants from its date types and from texts."""

from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from vapteke_shared.contract.limits import INT64_MAX

Number = int | float | Decimal
_EPOCH, _EPOCH_IN_UTC = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)


class Unusable(ValueError):
    """A value cannot be used. `reason` is a code, such as `too_long`."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


def count(value: Number) -> int:
    """The value as a whole number from 0 to the largest bigint. Raises Unusable for any other value."""
    number = value if type(value) is int else whole(value)
    if number < 0:
        raise Unusable("negative")
    if number > INT64_MAX:
        raise Unusable("too_big")
    return number


def whole(value: Number) -> int:
    """The value as a whole number of any sign; an int of any size is returned unchanged.

    Raises Unusable for a fraction, NaN, a float or Decimal beyond the largest bigint, and for anything that is not a
    number, bool included.
    """
    if isinstance(value, bool) or not isinstance(value, Number):
        raise Unusable("not_a_number")
    if isinstance(value, int):
        return value
    number = Decimal(value)
    if not number.is_finite():
        raise Unusable("not_a_number")
    if abs(number) > INT64_MAX:  # checked first, because converting a huge number to an integer is slow
        raise Unusable("too_big")
    if number != number.to_integral_value():
        raise Unusable("not_whole")
    return int(number)


def instant(dated: datetime | date, zone: ZoneInfo) -> datetime:
    """The instant in UTC, cut to whole milliseconds. Raises Unusable if it is not in the years 2 to 9998.

    A datetime without an offset is the local time in `zone`. A date stands for the midnight at its beginning.
    """
    local = dated if isinstance(dated, datetime) else datetime(dated.year, dated.month, dated.day)
    if local.microsecond % 1000:
        local = local.replace(microsecond=local.microsecond // 1000 * 1000)
    try:
        moment = _in_utc(local, zone) if local.tzinfo is None else local.astimezone(UTC)
    except OverflowError:
        raise Unusable("out_of_range") from None
    if moment.year in (MINYEAR, MAXYEAR):  # asyncpg reads the ends of these years as infinity
        raise Unusable("out_of_range")
    return moment


def _in_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """Like `local.replace(tzinfo=zone).astimezone(UTC)`, but eight times faster. Raises OverflowError."""
    offset = zone.utcoffset(local)
    assert offset is not None, "every zone of the time zone database has an offset"
    return _EPOCH_IN_UTC + (local - offset - _EPOCH)


def dated(value: object) -> date | None:
    """A date or a datetime, unchanged; or the datetime that an ISO 8601 text means. An empty or blank text gives None.

    Raises Unusable for every other text or value, None included.
    """
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise Unusable("not_a_date") from None
    if not isinstance(value, date):
        raise Unusable("not_a_date")
    return value
