"""When an import is due, and which texts are no schedule."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from customers_api.schedule import times
from customers_api.schedule.times import Schedule

BERLIN = "Europe/Berlin"
SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


def due_times(schedule: Schedule, begin: datetime, end: datetime) -> list[str]:
    found: list[str] = []
    at = schedule.next_after(begin)
    while at < end:
        found.append(f"{at:%d %H:%M:%S}")
        at = schedule.next_after(at)
    return found


@pytest.mark.parametrize(
    ("text", "night", "expected"),
    [
        ("30 2 * * *", SPRING, ["29 01:00:00", "30 00:30:00"]),  # 02:30 does not exist: at 03:00 instead
        ("0 3 * * *", SPRING, ["29 01:00:00", "30 01:00:00"]),
        ("30 2 * * *", AUTUMN, ["25 00:30:00", "26 01:30:00"]),  # 02:30 comes twice: the first one
        ("0 2 * * *", AUTUMN, ["25 00:00:00", "26 01:00:00"]),
        ("0 3 * * *", AUTUMN, ["25 02:00:00", "26 02:00:00"]),
        ("15 2 * * 0", AUTUMN, ["25 00:15:00"]),
    ],
)
def test_a_nightly_time_is_due_once_in_each_night(text: str, night: datetime, expected: list[str]) -> None:
    assert due_times(Schedule(text, "full", BERLIN), night, night + timedelta(days=2)) == expected


@pytest.mark.parametrize("night", [SPRING, AUTUMN])
@pytest.mark.parametrize("text", ["30 2 * * *", "0 3 * * *", "*/20 * * * *", "0 */2 * * *", "every 90s", "every 3h"])
def test_the_next_time_does_not_depend_on_when_it_is_worked_out(text: str, night: datetime) -> None:
    schedule, end = Schedule(text, "full", BERLIN), night + timedelta(days=2)
    every, at = [], schedule.next_after(night)
    while at <= end + timedelta(days=1):
        every.append(at)
        at = schedule.next_after(at)

    for minutes in range(2 * 24 * 60):
        now = night + timedelta(minutes=minutes, seconds=7)
        assert schedule.next_after(now) == next(at for at in every if at > now)


def test_a_time_of_cron_is_one_of_the_time_zone() -> None:
    moscow = Schedule("0 3 * * *", "full", "Europe/Moscow")

    assert moscow.next_after(datetime(2026, 5, 1, tzinfo=UTC)) == datetime(
        2026, 5, 2, 3, tzinfo=ZoneInfo("Europe/Moscow")
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("every 5s", 5), ("every 15m", 900), ("every 12h", 43_200), ("every 7s", 7)]
)
def test_an_interval_is_due_that_often(text: str, seconds: int) -> None:
    schedule = Schedule(text, "full", "UTC")
    first = schedule.next_after(datetime(2026, 5, 1, 10, 0, 1, tzinfo=UTC))

    assert first.timestamp() % seconds == 0
    assert schedule.next_after(first) == first + timedelta(seconds=seconds)


@pytest.mark.parametrize("text", [" 0 3 * * * ", "*/5 8-20 * * MON-FRI", "0 3 L * *", "every 5s", " every 15m"])
def test_a_schedule_is_taken_without_surrounding_blanks(text: str) -> None:
    assert times.checked(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "nightly", "@daily", "0 3 * *", "0 0 3 * * *", "0 25 * * *", "every 0s", "every 5", "every 5 m", "every 1d"],
)
def test_another_text_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 0 3 \* \* \* .* such as every 15m"):
        times.checked(text)
