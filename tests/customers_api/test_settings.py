"""The settings of customers-api that need more than a type."""

import pytest
from customers_api.schedule.times import Schedule
from customers_api.settings import WorkSettings
from vapteke_shared.process.settings import load

NEEDED = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_DB": "vapteke",
    "POSTGRES_USER": "customers",
    "POSTGRES_PASSWORD": "made up here",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
}


@pytest.fixture(autouse=True)
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_without_a_schedule_there_is_none() -> None:
    assert load(WorkSettings).schedule is None


def test_a_schedule_has_a_kind_and_a_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORT_SCHEDULE", " 0 3 * * * ")
    monkeypatch.setenv("IMPORT_SCHEDULE_TIMEZONE", "Europe/Moscow")

    assert load(WorkSettings).schedule == Schedule("0 3 * * *", "full", "Europe/Moscow")


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("IMPORT_SCHEDULE", "nightly", "use five cron fields, such as 0 3 * * *"),
        ("IMPORT_SCHEDULE", "0 99 * * *", "is not a schedule (Bad hour)"),
        ("IMPORT_SCHEDULE_TIMEZONE", "Moskau", "use a name such as Europe/Moscow"),
        ("IMPORT_SCHEDULE_KIND", "whole", "Input should be 'full', 'changes' or 'compare'"),
        ("IMPORT_FULL_EVERY_HOURS", "-24", "Input should be greater than 0"),
    ],
)
def test_a_wrong_schedule_ends_the_start_with_the_variable_and_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, cure: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        load(WorkSettings)

    line = str(ended.value.code)
    assert line.startswith(f"configuration: {name}: ")
    assert cure in line
    assert value not in line
