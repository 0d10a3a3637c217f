"""The fingerprints of rows and ranges, read from the stand-in over both drivers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from legacy_importer import legacy, translate
from legacy_importer.fingerprints import Method, RangeSum
from legacy_importer.login import connect
from legacy_importer.settings import Genders, WorkSettings
from legacy_importer.translate import Context, LegacyRow, UnreadableRow
from vapteke_local.vaptekesync import CUSTOMERS, Column, Server, SqlType, Table

Serve = Callable[..., AbstractContextManager[Server]]
SettingsFor = Callable[..., WorkSettings]
ROW = (7, "89025163111", "Ёж", None, "", date(1990, 5, 17), "Ж", 77, datetime(2023, 12, 21, 4, 20, 37, 23_000))
TEXT = "4:7;11:89025163111;2:Ёж;:;0:;3:1990-05-17;1:Ж;4:77;8:2023-12-21 04:20:37.023;"
WITH_ROWVERSION = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, Column("Version", SqlType("rowversion"))))


def hash_of(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-16-le")).digest()[:8], "big", signed=True)


async def fingerprint_of(settings: WorkSettings) -> str | None:
    total = RangeSum()
    async with connect(settings) as connection, aclosing(legacy.read_range(connection, settings, None, 99)) as pages:
        async for page in pages:
            total.add(list(page))
    return total.fingerprint


async def method_of(settings: WorkSettings) -> Method:
    async with connect(settings) as connection:
        return await legacy.fingerprint_method(connection, settings)


async def test_the_fingerprint_of_a_row_is_a_hash_of_its_key_and_columns(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([ROW]) as server:
        found = await fingerprint_of(settings_for(server, vaptekesync_driver=driver))

    assert found == f"1:{hash_of(TEXT)}"


@pytest.mark.parametrize(
    ("column", "kind", "before", "after"),
    [
        ("Phone", "nvarchar(max)", None, ""),
        ("Phone", "float", 79025163111.0, 79025163112.0),
        ("Phone", "decimal(38,0)", 79025163111, 79025163112),
        ("Birthday", "smalldatetime", datetime(1990, 5, 17), datetime(1990, 5, 18)),
        ("Birthday", "datetimeoffset", None, None),
        ("Gender", "bit", False, True),
        ("CityID", "money", 77, 78),
        ("CityID", "real", 77.0, 78.0),
        ("LastAuthAt", "datetime", datetime(2023, 12, 21, 4, 20, 37), datetime(2023, 12, 21, 4, 20, 38)),
        ("LastAuthAt", "datetime2(7)", datetime(2023, 1, 2, 3, 4, 5, 6), datetime(2023, 1, 2, 3, 4, 5, 7)),
    ],
)
async def test_a_changed_value_of_any_type_changes_the_fingerprint(
    serve: Serve, settings_for: SettingsFor, column: str, kind: str, before: Any, after: Any
) -> None:
    rows = [
        [value if each.name == column else old for each, old in zip(CUSTOMERS.columns, ROW, strict=True)]
        for value in (before, after)
    ]

    found = []
    for row in rows:
        with serve([row], CUSTOMERS.altered(column, sql_type=kind)) as server:
            found.append(await fingerprint_of(settings_for(server)))

    assert None not in found
    assert (found[0] == found[1]) == (before == after)


async def test_the_fingerprint_is_a_hash_of_the_rowversion_of_a_table_that_has_one(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([(*ROW, 40), (8, *ROW[1:], 2)], WITH_ROWVERSION) as server:
        found = await fingerprint_of(settings_for(server, vaptekesync_driver=driver))

    assert found == f"2:{hash_of('8:0000000000000028;') + hash_of('8:0000000000000002;')}"


async def test_changes_that_keep_the_sum_of_the_rowversions_are_found(serve: Serve, settings_for: SettingsFor) -> None:
    with serve([(*ROW, 9), (8, *ROW[1:], 3)], WITH_ROWVERSION) as server:
        before = await fingerprint_of(settings_for(server))
    with serve([(8, *ROW[1:], 7), (9, *ROW[1:], 5)], WITH_ROWVERSION) as server:
        after = await fingerprint_of(settings_for(server))

    assert before != after


async def test_the_rows_of_a_view_are_hashed_though_it_shows_a_rowversion(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve([(*ROW, 40)], replace(WITH_ROWVERSION, type="VIEW")) as server:
        method = await method_of(settings_for(server))

    assert "HASHBYTES" in method.expression


async def test_a_range_with_a_row_that_cannot_be_selected_has_no_fingerprint(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve([ROW, (8, *ROW[1:])]) as server:
        server.make_unreadable(8)

        assert await fingerprint_of(settings_for(server)) is None


def test_a_fingerprint_is_valid_until_a_day_before_the_first_value_that_lies_in_the_future() -> None:
    context = Context(uuid4(), 0, uuid4(), datetime(2026, 5, 1, tzinfo=UTC), ZoneInfo("Asia/Kamchatka"), {})
    rows = [
        LegacyRow(*ROW),
        UnreadableRow(8),
        LegacyRow(9, "89025163111", None, None, None, date(2026, 6, 7), None, None, "2026-06-05T10:00:00"),
        LegacyRow(10, "89025163111", None, None, None, None, None, None, datetime(9999, 12, 31)),
    ]
    total, past = RangeSum(), RangeSum()

    total.add(rows, translate.to_events(rows, context))
    past.add(rows[:1], translate.to_events(rows[:1], context))

    assert total.valid_until == datetime(2026, 6, 4, tzinfo=UTC)
    assert past.valid_until is None


async def test_an_empty_range_has_a_fingerprint(serve: Serve, settings_for: SettingsFor) -> None:
    with serve([]) as server:
        assert await fingerprint_of(settings_for(server)) == "0:0"


@pytest.mark.parametrize(
    ("table", "changed", "parts"),
    [
        (CUSTOMERS, {}, set()),
        (CUSTOMERS.altered("CityID", sql_type="bigint"), {}, {"table_altered_at"}),
        (CUSTOMERS.altered("Email", sql_type="text"), {}, {"table_altered_at"}),
        (CUSTOMERS.altered("CityID", sql_type="float"), {}, {"table_altered_at", "columns"}),
        (WITH_ROWVERSION, {}, {"table_altered_at", "columns"}),
        (CUSTOMERS, {"vaptekesync_timezone": "Europe/Moscow"}, {"timezone"}),
        (CUSTOMERS, {"vaptekesync_genders": Genders(M=["м"], F=["ж"])}, {"genders"}),
    ],
)
async def test_the_basis_changes_with_the_table_and_with_what_rows_are_translated_by(
    serve: Serve, settings_for: SettingsFor, table: Table, changed: dict[str, Any], parts: set[str]
) -> None:
    with serve([], CUSTOMERS) as server:
        before = (await method_of(settings_for(server))).basis
    with serve([], table) as server:
        after = (await method_of(settings_for(server, **changed))).basis

    assert before is not None
    assert after is not None
    assert {part for part in before if before[part] != after[part]} == parts
    assert before.keys() == after.keys()


async def test_a_table_that_the_user_cannot_see_has_no_basis(serve: Serve, settings_for: SettingsFor) -> None:
    with serve([]) as server:
        assert (await method_of(settings_for(server, vaptekesync_table="Clients"))).basis is None
