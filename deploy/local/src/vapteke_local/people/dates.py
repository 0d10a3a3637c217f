"""The birthdays and last logins of made-up people: tables of 65,536 slots. A 16-bit draw picks a slot of a table.

The first slots of BIRTHDAYS hold dates that the services do not accept as a birthday. Half of all slots hold None, and
the rest hold valid birthdays. LAST_DAYS holds None in 20 % of its slots, otherwise days of 13 years from FIRST_DAY.
"""

from datetime import date, datetime, time, timedelta

from vapteke_local.people.random_draws import SLOTS, UNUSABLE, Draws, per_mille

TICKS_A_DAY = 24 * 60 * 60 * 300
FIRST_DAY = date(2012, 1, 1)
DAYS = 13 * 365


def birthdays() -> list[date | None]:
    slots: list[date | None] = [date(2090, 1, 1) + timedelta(days=997 * turn) for turn in range(per_mille(3))]
    # SQL Server turns an empty text into this date.
    slots += [date(1900, 1, 1)] * 8
    slots += [date(1899, 12, 31) - timedelta(days=700 * turn) for turn in range(UNUSABLE["birthday"] - len(slots))]
    slots += [date(1900, 1, 2)] * 8 + [None] * per_mille(500)
    return slots + [date(1921, 1, 1) + timedelta(days=day) for day in range(SLOTS - len(slots))]


def days() -> list[date | None]:
    slots: list[date | None] = [None] * per_mille(200)
    return slots + [FIRST_DAY + timedelta(days=turn % DAYS) for turn in range(SLOTS - len(slots))]


def instant(tick: int) -> datetime:
    """The instant at `tick` × 1/300 seconds after the start of FIRST_DAY.

    It is rounded to the whole milliseconds that SQL Server shows for a datetime.
    """
    return datetime.combine(FIRST_DAY, time()) + timedelta(milliseconds=(tick * 10 + 1) // 3)


BIRTHDAYS = birthdays()
LAST_DAYS = days()
LAST_TIMES = [instant(slot * 395).time() for slot in range(SLOTS)]


def last_auth_at(draws: Draws) -> datetime | None:
    day = LAST_DAYS[draws.day]
    return None if day is None else datetime.combine(day, LAST_TIMES[draws.time])
