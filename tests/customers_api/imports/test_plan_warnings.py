"""The texts of a job's `warnings`."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from customers_api.imports import plan_warnings
from customers_api.imports.plan_warnings import Last
from vapteke_shared.contract.events.imports import Planned

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan(ahead: timedelta | None, *warnings: str) -> Planned:
    source_at = None if ahead is None else NOW + ahead
    return Planned(
        import_id=uuid4(), row_count=1, upper_bounds=[1], warnings=[*warnings], source_at=source_at, importer_at=NOW
    )


@pytest.mark.parametrize("ahead", [None, timedelta(0), timedelta(seconds=60), timedelta(seconds=-60)])
def test_a_clock_near_the_importers_is_no_warning(ahead: timedelta | None) -> None:
    assert plan_warnings.of_plan(plan(ahead), Last(ahead=0.0)) == []


def test_a_clock_far_from_the_importers_is_named_with_both_instants() -> None:
    assert plan_warnings.of_plan(plan(timedelta(days=1)), Last(ahead=86_400.0)) == [
        "vAptekeSync's clock showed 2026-01-03 03:04:05 UTC when the importer's showed 2026-01-02 03:04:05 UTC: "
        "it is 86,400 s ahead. Set the clock that is wrong"
    ]


def test_a_clock_that_has_jumped_since_the_import_before_is_named() -> None:
    assert plan_warnings.of_plan(plan(timedelta(seconds=-30)), Last(ahead=86_400.0)) == [
        "vAptekeSync's clock has jumped since the import before: compared with the importer's it was 86,400 s ahead, "
        "now it is 30 s behind"
    ]


def test_what_the_importer_warns_of_comes_first() -> None:
    said = plan_warnings.of_plan(plan(timedelta(hours=-1), "the key was checked by counting"), Last())

    assert said[0] == "the key was checked by counting"
    assert len(said) == 2


def test_the_ends_of_time_are_no_error() -> None:
    wild = Planned(
        import_id=uuid4(), row_count=1, upper_bounds=[1], source_at=datetime.max.replace(tzinfo=UTC), importer_at=NOW
    )

    [warning] = plan_warnings.of_plan(wild, Last())

    assert "9999-12-31" in warning


def table(rows: int) -> Planned:
    return Planned(import_id=uuid4(), row_count=rows, upper_bounds=[1])


@pytest.mark.parametrize(("rows", "before"), [(95, 100), (100, 100), (200, 100), (1, None), (1, 0)])
def test_about_as_many_rows_as_before_are_no_warning(rows: int, before: int | None) -> None:
    assert plan_warnings.of_plan(table(rows), Last(rows=before)) == []


def test_a_fall_of_the_row_count_is_named_with_both_counts() -> None:
    assert plan_warnings.of_plan(table(74_000), Last(rows=78_553)) == [
        "the legacy table has 74,000 rows, 5.8 % fewer than the 78,553 of the import before. If that is not intended, "
        "restore the rows in vAptekeSync and start another import"
    ]


def test_an_empty_table_is_one_warning() -> None:
    empty = Planned(import_id=uuid4(), row_count=0, upper_bounds=[])

    assert plan_warnings.of_plan(empty, Last(rows=78_553)) == [plan_warnings.EMPTY_TABLE]


COLUMNS = {"birthday": "Birthday (date)", "city_id": "CityID (int)", "phone": "Phone (varchar)"}


@pytest.mark.parametrize("now", [COLUMNS, None, COLUMNS | {"middle_name": "MiddleName (nvarchar)"}])
def test_the_same_columns_are_no_warning_nor_are_those_of_another_release(now: dict[str, str] | None) -> None:
    plan = Planned(import_id=uuid4(), row_count=1, upper_bounds=[1], columns=now)

    assert plan_warnings.of_plan(plan, Last(columns=msgspec.json.encode(COLUMNS).decode())) == []
    assert plan_warnings.of_plan(plan, Last()) == []


def test_columns_that_have_changed_are_named_with_their_old_and_new_types() -> None:
    now = COLUMNS | {"birthday": "Birthday (nvarchar)", "city_id": "RegionID (int)"}
    plan = Planned(import_id=uuid4(), row_count=1, upper_bounds=[1], columns=now)

    assert plan_warnings.of_plan(plan, Last(columns=msgspec.json.encode(COLUMNS).decode())) == [
        "columns of vAptekeSync or VAPTEKESYNC_COLUMNS have changed since an import last completed: birthday was read "
        "from Birthday (date) and is read from Birthday (nvarchar), city_id was read from CityID (int) and is read "
        "from RegionID (int). If that is not intended, cancel this import and correct the table or the setting; "
        "otherwise compare its rejections with those of the import before"
    ]
