"""The texts of a job's `warnings`."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from customers_api.imports import plan_warnings
from vapteke_shared.contract.events.imports import Planned

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan(ahead: timedelta | None, *warnings: str) -> Planned:
    source_at = None if ahead is None else NOW + ahead
    return Planned(
        import_id=uuid4(), row_count=1, upper_bounds=[1], warnings=[*warnings], source_at=source_at, importer_at=NOW
    )


@pytest.mark.parametrize("ahead", [None, timedelta(0), timedelta(seconds=60), timedelta(seconds=-60)])
def test_a_clock_near_the_importers_is_no_warning(ahead: timedelta | None) -> None:
    assert plan_warnings.of_plan(plan(ahead), last_ahead=0.0, last_rows=None) == []


def test_a_clock_far_from_the_importers_is_named_with_both_instants() -> None:
    assert plan_warnings.of_plan(plan(timedelta(days=1)), last_ahead=86_400.0, last_rows=None) == [
        "vAptekeSync's clock showed 2026-01-03 03:04:05 UTC when the importer's showed 2026-01-02 03:04:05 UTC: "
        "it is 86,400 s ahead. Set the clock that is wrong"
    ]


def test_a_clock_that_has_jumped_since_the_import_before_is_named() -> None:
    assert plan_warnings.of_plan(plan(timedelta(seconds=-30)), last_ahead=86_400.0, last_rows=None) == [
        "vAptekeSync's clock has jumped since the import before: compared with the importer's it was 86,400 s ahead, "
        "now it is 30 s behind"
    ]


def test_what_the_importer_warns_of_comes_first() -> None:
    said = plan_warnings.of_plan(
        plan(timedelta(hours=-1), "the key was checked by counting"), last_ahead=None, last_rows=None
    )

    assert said[0] == "the key was checked by counting"
    assert len(said) == 2


def test_the_ends_of_time_are_no_error() -> None:
    wild = Planned(
        import_id=uuid4(), row_count=1, upper_bounds=[1], source_at=datetime.max.replace(tzinfo=UTC), importer_at=NOW
    )

    [warning] = plan_warnings.of_plan(wild, last_ahead=None, last_rows=None)

    assert "9999-12-31" in warning


def table(rows: int) -> Planned:
    return Planned(import_id=uuid4(), row_count=rows, upper_bounds=[1])


@pytest.mark.parametrize(("rows", "before"), [(95, 100), (100, 100), (200, 100), (1, None), (1, 0)])
def test_about_as_many_rows_as_before_are_no_warning(rows: int, before: int | None) -> None:
    assert plan_warnings.of_plan(table(rows), last_ahead=None, last_rows=before) == []


def test_a_fall_of_the_row_count_is_named_with_both_counts() -> None:
    assert plan_warnings.of_plan(table(74_000), last_ahead=None, last_rows=78_553) == [
        "the legacy table has 74,000 rows, 5.8 % fewer than the 78,553 of the import before. If that is not intended, "
        "restore the rows in vAptekeSync and start another import"
    ]


def test_an_empty_table_is_one_warning() -> None:
    empty = Planned(import_id=uuid4(), row_count=0, upper_bounds=[])

    assert plan_warnings.of_plan(empty, last_ahead=None, last_rows=78_553) == [plan_warnings.EMPTY_TABLE]
