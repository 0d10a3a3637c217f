"""The plan of an import of changes: which ranges need not be read, because vAptekeSync still shows what was read."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from legacy_importer import changes_plan, legacy
from legacy_importer.changes_plan import ChangesPlan
from legacy_importer.fingerprints import RangeSum
from legacy_importer.legacy import Plan
from legacy_importer.legacy_errors import LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.settings import WorkSettings
from vapteke_local.vaptekesync import CUSTOMERS, Column, Server, SqlType, Table
from vapteke_shared.contract.events.imports import PlanRequested

Serve = Callable[..., AbstractContextManager[Server]]
SettingsFor = Callable[..., WorkSettings]
WITH_ROWVERSION = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, Column("Version", SqlType("rowversion"))))
KEYS = range(1, 31)
ROWS = [(key, f"8907{key:07d}", "Виктор", f"Ёлкин-{key}", None, None, "М", 77, None) for key in KEYS]


async def read_all(settings: WorkSettings, rows_per_range: int = 10) -> PlanRequested:
    """Reads the table as a full import does. Returns the task for the import of changes after it."""
    async with connect(settings) as connection:
        method = await legacy.fingerprint_method(connection, settings)
        plan = await legacy.plan(connection, settings, rows_per_range)
        found = []
        for after_id, upto_id in pairwise([None, *plan.upper_bounds]):
            total = RangeSum()
            async with aclosing(legacy.read_range(connection, settings, after_id, upto_id, method)) as pages:
                async for page in pages:
                    total.add(list(page))
            found.append(total.fingerprint)
    return PlanRequested(
        import_id=UUID(int=1),
        rows_per_range=rows_per_range,
        stored_bounds=plan.upper_bounds,
        stored_fingerprints=found,
        basis=method.basis,
    )


async def plan_of(settings: WorkSettings, task: PlanRequested) -> ChangesPlan | None:
    async with connect(settings) as connection:
        method = await legacy.fingerprint_method(connection, settings)
        assert changes_plan.why_full(task, method) is None
        return await changes_plan.plan(connection, settings, task, method)


@pytest.fixture(params=["hash", "rowversion"])
def table(request: pytest.FixtureRequest) -> Table:
    return WITH_ROWVERSION if request.param == "rowversion" else CUSTOMERS


def rows_for(table: Table) -> list[tuple[Any, ...]]:
    return [row + (None,) * (len(table.columns) - len(row)) for row in ROWS]


async def test_no_range_is_read_when_nothing_has_changed(
    serve: Serve, settings_for: SettingsFor, driver: str, table: Table
) -> None:
    with serve(rows_for(table), table) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        found = await plan_of(settings, await read_all(settings))

        assert server.stats.statements["fingerprints"] == 1
    assert found == ChangesPlan(Plan(30, [10, 20, 30]), [0, 1, 2], 30, [])


@pytest.mark.parametrize(
    ("change", "unread", "row_count"),
    [
        ({"do": "set", "id": 15, "values": {"CityID": 78}}, [0, 2], 30),
        ({"do": "remove", "id": 15}, [0, 2], 29),
        ({"do": "remove", "id": 1}, [1, 2], 29),
        ({"do": "add", "values": {"ID": 0}}, [1, 2], 31),
        ({"do": "set", "id": 15, "values": {"LastName": ""}}, [0, 2], 30),
        ({"do": "add", "values": {"ID": 31}}, [0, 1, 2], 31),
    ],
)
async def test_the_range_of_a_changed_row_is_read(
    serve: Serve, settings_for: SettingsFor, table: Table, change: dict[str, Any], unread: list[int], row_count: int
) -> None:
    with serve(rows_for(table), table) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        server.change(change)
        found = await plan_of(settings, task)

    assert found is not None
    assert (found.unread, found.plan.row_count, found.warnings) == (unread, row_count, [])


async def test_a_row_that_two_changes_leave_as_it_was_is_read_only_by_its_rowversion(
    serve: Serve, settings_for: SettingsFor, table: Table
) -> None:
    with serve(rows_for(table), table) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        server.put({"ID": 15, "CityID": 78})
        server.put({"ID": 15, "CityID": 77})
        found = await plan_of(settings, task)

    assert found is not None
    assert found.unread == ([0, 2] if table is WITH_ROWVERSION else [0, 1, 2])


async def test_a_transaction_that_commits_late_is_found_though_newer_changes_were_read_before(
    serve: Serve, settings_for: SettingsFor, table: Table
) -> None:
    with serve(rows_for(table), table) as server:
        settings = settings_for(server)
        server.change({"do": "set", "id": 15, "values": {"CityID": 78}, "transaction": "late"})
        server.put({"ID": 16, "CityID": 79})
        task = await read_all(settings)
        before = await plan_of(settings, task)
        server.change({"do": "commit", "transaction": "late"})
        after = await plan_of(settings, task)

    assert before is not None
    assert after is not None
    assert (before.unread, after.unread) == ([0, 1, 2], [0, 2])


async def test_new_rows_above_a_full_last_range_get_ranges_of_their_own(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        for key in range(31, 46):
            server.put({"ID": key})
        found = await plan_of(settings, task)

    assert found == ChangesPlan(Plan(45, [10, 20, 30, 40, 45]), [0, 1, 2], 30, [])


async def test_new_rows_above_a_small_last_range_are_read_with_it(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(ROWS[:25]) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        for key in range(26, 36):
            server.put({"ID": key})
        found = await plan_of(settings, task)

    assert found == ChangesPlan(Plan(35, [10, 20, 30, 35]), [0, 1], 20, [])


async def test_new_rows_above_the_only_small_range_are_read_with_it(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(ROWS[:5]) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        server.put({"ID": 6})
        found = await plan_of(settings, task)

    assert found == ChangesPlan(Plan(6, [6]), [], 0, [])


async def test_a_range_without_a_stored_fingerprint_is_read(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        assert task.stored_fingerprints is not None
        task.stored_fingerprints[1] = None
        found = await plan_of(settings, task)

    assert found == ChangesPlan(Plan(30, [10, 20, 30]), [0, 2], 20, [])


async def test_a_range_with_rows_that_a_transaction_holds_is_read_and_named(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        task = await read_all(settings)
        server.set_fault("fail", statement="fingerprints", number=1222, times=2)
        found = await plan_of(settings, task)

        assert server.stats.statements["fingerprints"] == 4
    assert found is not None
    assert (found.plan, found.unread, found.unread_rows) == (Plan(30, [10, 20, 30]), [1, 2], 20)
    [warning] = found.warnings
    assert warning.startswith("the keys up to 10 could not be compared")


async def test_a_range_with_a_row_that_cannot_be_selected_is_read_and_named(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        server.make_unreadable(15)
        found = await plan_of(settings, task)

    assert found is not None
    assert (found.unread, len(found.warnings)) == ([0, 2], 1)


async def test_a_table_that_has_become_empty_has_no_plan_of_changes(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(ROWS[:2]) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        server.remove(1)
        server.remove(2)

        assert await plan_of(settings, task) is None


async def test_a_server_that_is_silent_fails_the_plan(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server, mssql_timeout=0.5)
        task = await read_all(settings)
        server.set_fault("silent", statement="fingerprints")

        async with asyncio.timeout(20):
            with pytest.raises(LegacyUnavailable, match="did not answer"):
                await plan_of(settings, task)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"stored_bounds": []}, "no key ranges are stored"),
        ({"stored_bounds": [20, 10, 30]}, "no key ranges are stored"),
        ({"stored_fingerprints": None}, "no key ranges are stored"),
        ({"basis": None}, "the basis of the stored fingerprints is not known"),
        ({"basis": {"server": "x"}}, "these have changed since the last import: columns, database"),
    ],
)
async def test_fingerprints_that_cannot_be_compared_make_the_import_full(
    serve: Serve, settings_for: SettingsFor, changed: dict[str, Any], reason: str | None
) -> None:
    with serve(ROWS) as server:
        settings = settings_for(server)
        task = await read_all(settings)
        for name, value in changed.items():
            setattr(task, name, value)
        async with connect(settings) as connection:
            found = changes_plan.why_full(task, await legacy.fingerprint_method(connection, settings))

    assert found == reason or (found or "").startswith(reason or "-")
