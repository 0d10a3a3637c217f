"""Values of vAptekeSync, read with both drivers: every column type, and rows that cannot be read."""

from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from legacy_importer import legacy, table_check, translate
from legacy_importer.legacy_errors import LegacyError, LegacyMisconfigured, LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.settings import WorkSettings
from legacy_importer.translate import Context, LegacyRow, UnreadableRow
from vapteke_local.vaptekesync import CUSTOMERS
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTEXT = Context(UUID(int=1), 0, UUID(int=2), NOW, ZoneInfo("Europe/Moscow"), translate.spellings({"M": ["1", "м"]}))
COLUMNS = dict(zip(LegacyRow._fields[:-1], (column.name for column in CUSTOMERS.columns), strict=True))
SEEN = datetime(2023, 12, 21, 4, 20, 30)
SEEN_IN_MOSCOW = SEEN.replace(tzinfo=timezone(timedelta(hours=3)))

# field, type of its column, a value of that type, what becomes of it
READ: list[tuple[str, str, Any, Any]] = [
    ("phone", "varchar(400)", "8 902 516-31-11", "79025163111"),
    ("phone", "nvarchar(400)", "+7\u2011902\u2011516\u20113111", "79025163111"),
    ("phone", "char(20)", "89025163111", "79025163111"),
    ("phone", "nchar(20)", "89025163111", "79025163111"),
    ("phone", "text", "89025163111", "79025163111"),
    ("phone", "ntext", "89025163111", "79025163111"),
    ("phone", "bigint", 89025163111, "79025163111"),
    ("phone", "decimal(11,0)", Decimal(79025163111), "79025163111"),
    ("phone", "decimal(13,2)", Decimal("79025163111.00"), "79025163111"),
    ("phone", "numeric(18,0)", Decimal(375291234567), "375291234567"),
    ("phone", "money", Decimal("79025163111.0000"), "79025163111"),
    ("phone", "float", 79025163111.0, "79025163111"),
    ("firstname", "char(20)", "Ёжик", "Ёжик"),
    ("lastname", "ntext", "Ўлкін", "Ўлкін"),
    ("email", "text", "user@example.com", "user@example.com"),
    ("birthday", "date", date(1990, 5, 17), date(1990, 5, 17)),
    ("birthday", "datetime", datetime(1990, 5, 17, 23, 59), date(1990, 5, 17)),
    ("birthday", "smalldatetime", datetime(1990, 5, 17, 12), date(1990, 5, 17)),
    ("birthday", "datetime2(7)", datetime(1990, 5, 17), date(1990, 5, 17)),
    ("birthday", "datetimeoffset(7)", datetime(1990, 5, 17, tzinfo=timezone(timedelta(hours=5))), date(1990, 5, 17)),
    ("birthday", "varchar(30)", "1990-05-17", date(1990, 5, 17)),
    ("birthday", "char(30)", "1990-05-17", date(1990, 5, 17)),
    ("gender", "nchar(5)", "М", "M"),
    ("gender", "bit", True, "M"),
    ("gender", "tinyint", 1, "M"),
    ("gender", "decimal(3,0)", Decimal(1), "M"),
    ("gender", "float", 1.0, "M"),
    ("city_id", "tinyint", 77, 77),
    ("city_id", "smallint", 77, 77),
    ("city_id", "int", 77, 77),
    ("city_id", "bigint", 2**62, 2**62),
    ("city_id", "decimal(18,0)", Decimal(77), 77),
    ("city_id", "numeric(10,4)", Decimal("77.0000"), 77),
    ("city_id", "money", Decimal(77), 77),
    ("city_id", "smallmoney", Decimal(77), 77),
    ("city_id", "float", 77.0, 77),
    ("city_id", "real", 77.0, 77),
    ("last_auth_at", "date", date(2023, 12, 21), datetime(2023, 12, 20, 21, tzinfo=UTC)),
    ("last_auth_at", "datetime", SEEN, datetime(2023, 12, 21, 1, 20, 30, tzinfo=UTC)),
    ("last_auth_at", "smalldatetime", SEEN, datetime(2023, 12, 21, 1, 20, tzinfo=UTC)),
    ("last_auth_at", "datetime2(3)", SEEN, datetime(2023, 12, 21, 1, 20, 30, tzinfo=UTC)),
    ("last_auth_at", "datetimeoffset(7)", SEEN_IN_MOSCOW, datetime(2023, 12, 21, 1, 20, 30, tzinfo=UTC)),
    ("last_auth_at", "datetimeoffset(7)", SEEN.replace(tzinfo=UTC), SEEN.replace(tzinfo=UTC)),
    ("last_auth_at", "nvarchar(40)", "2023-12-21T04:20:30Z", SEEN.replace(tzinfo=UTC)),
]

UNUSABLE = [
    ("phone", "decimal(13,2)", Decimal("79025163111.50"), "not_whole"),
    ("phone", "float", 79025163111.5, "not_whole"),
    ("phone", "bigint", 7902516311100, "not_ten_digits_after_7"),
    ("birthday", "smalldatetime", datetime(1900, 1, 1), "placeholder_date"),
    ("birthday", "datetime", datetime(1900, 1, 1), "placeholder_date"),
    ("city_id", "decimal(10,2)", Decimal("77.50"), "not_whole"),
    ("city_id", "money", Decimal("-77.0"), "negative"),
    ("city_id", "real", 77.5, "not_whole"),
    ("city_id", "float", 1e300, "too_big"),
    ("last_auth_at", "datetimeoffset(7)", datetime(2099, 1, 1, tzinfo=UTC), "in_the_future"),
    ("last_auth_at", "smalldatetime", datetime(1900, 1, 1), "placeholder_date"),
    ("last_auth_at", "date", date(2099, 1, 1), "in_the_future"),
]

UNFIT = [
    *[("phone", kind) for kind in ("int", "real", "smallmoney", "bit", "datetime", "varbinary", "xml", "sql_variant")],
    *[("firstname", kind) for kind in ("int", "uniqueidentifier", "xml", "binary", "datetimeoffset(7)")],
    *[("lastname", kind) for kind in ("image", "geography", "decimal(5,0)")],
    *[("email", kind) for kind in ("bigint", "time", "hierarchyid")],
    *[("birthday", kind) for kind in ("int", "time", "float", "timestamp", "sql_variant")],
    *[("gender", kind) for kind in ("date", "uniqueidentifier", "varbinary")],
    *[("city_id", kind) for kind in ("nvarchar(10)", "bit", "datetime", "timestamp", "text")],
    *[("last_auth_at", kind) for kind in ("bigint", "time", "geometry")],
]


def person(**values: Any) -> tuple[Any, ...]:
    return LegacyRow(7, "89025163111", *[None] * 7)._replace(**values)[:-1]


async def read(
    settings: WorkSettings, after_id: int | None = None, upto_id: int = 2**31 - 1
) -> list[LegacyRow | UnreadableRow]:
    async with connect(settings) as connection:
        await table_check.check(connection, settings)
        async with aclosing(legacy.read_range(connection, settings, after_id, upto_id)) as pages:
            return [row async for page in pages for row in page]


async def test_every_type_that_fits_a_field_is_read(serve: Serve, settings_for: SettingsFor, driver: str) -> None:
    for field, kind, value, made in READ:
        null = None if field != "phone" else value
        rows = [person(id=1, **{field: null}), person(id=2, **{field: value})]
        with serve(rows, CUSTOMERS.altered(COLUMNS[field], sql_type=kind)) as server:
            empty, full = [
                translate.to_event(row, CONTEXT) for row in await read(settings_for(server, vaptekesync_driver=driver))
            ]

        assert isinstance(full, LegacyCustomerRead), (field, kind, full)
        assert (getattr(full, field), full.unusable) == (made, None), (field, kind)
        assert isinstance(empty, LegacyCustomerRead)
        assert empty.unusable is None, (field, kind)


async def test_a_value_of_any_type_that_cannot_be_used_has_a_reason(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    for field, kind, value, reason in UNUSABLE:
        with serve([person(**{field: value})], CUSTOMERS.altered(COLUMNS[field], sql_type=kind)) as server:
            [row] = await read(settings_for(server, vaptekesync_driver=driver))
        event = translate.to_event(row, CONTEXT)

        reasons = event.reasons if isinstance(event, LegacyCustomerRejected) else event.unusable
        assert reasons == {field: reason}, (field, kind)


async def test_a_column_whose_type_does_not_fit_is_named_with_what_does(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    for field, kind in UNFIT:
        table = CUSTOMERS.altered(COLUMNS[field], sql_type=kind)
        with serve([], table) as server, pytest.raises(LegacyMisconfigured) as unfit:
            await read(settings_for(server, vaptekesync_driver=driver))

        said = str(unfit.value)
        assert f"column {COLUMNS[field]} is of type {kind.partition('(')[0]}; {field} can be read from" in said
        assert "VAPTEKESYNC_COLUMNS" in said


async def test_all_columns_that_do_not_fit_are_named_at_once(serve: Serve, settings_for: SettingsFor) -> None:
    table = CUSTOMERS.altered("Birthday", sql_type="time").altered("CityID", sql_type="xml")
    with serve([], table) as server, pytest.raises(LegacyMisconfigured) as unfit:
        await read(settings_for(server))

    assert "column Birthday is of type time" in str(unfit.value)
    assert "column CityID is of type xml" in str(unfit.value)


ERRORS = [
    (8115, "Arithmetic overflow error converting expression to data type int."),
    (245, "Conversion failed when converting the varchar value 'x' to data type int."),
    (8114, "Error converting data type varchar to bigint."),
    (242, "The conversion of a varchar data type to a datetime data type resulted in an out-of-range value."),
    (241, "Conversion failed when converting date and/or time from character string."),
    (8134, "Divide by zero error encountered."),
    (512, "Subquery returned more than 1 value."),
]


@pytest.mark.parametrize(("number", "text"), ERRORS, ids=[str(number) for number, _ in ERRORS])
async def test_a_row_that_cannot_be_selected_is_found_and_the_others_are_read(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int, text: str
) -> None:
    with serve([person(id=key) for key in range(100)]) as server:
        server.make_unreadable(42, number, text)
        rows = await read(settings_for(server, vaptekesync_driver=driver))

    assert [row.id for row in rows] == list(range(100))
    assert [row for row in rows if isinstance(row, UnreadableRow)] == [UnreadableRow(42)]


@pytest.mark.parametrize(
    "bad",
    [[0], [11_999], [0, 1, 2, 11_998, 11_999], list(range(5_500, 5_540)), [6_000], list(range(0, 12_000, 1_500))],
    ids=["first", "last", "both ends", "in a row", "page two", "scattered"],
)
async def test_unreadable_rows_are_found_wherever_they_are(
    serve: Serve, settings_for: SettingsFor, driver: str, bad: list[int]
) -> None:
    with serve([person(id=3 * key - 500) for key in range(12_000)]) as server:
        for key in bad:
            server.make_unreadable(3 * key - 500)
        settings = settings_for(server, vaptekesync_driver=driver, mssql_timeout=10)
        rows = await read(settings) + await read(settings, after_id=35_500, upto_id=36_000)

    assert [row.id for row in rows] == [3 * key - 500 for key in range(12_000)]
    assert [row.id for row in rows if isinstance(row, UnreadableRow)] == [3 * key - 500 for key in bad]


async def test_finding_unreadable_rows_has_a_bound(serve: Serve, settings_for: SettingsFor) -> None:
    with serve([person(id=key) for key in range(5_000)]) as server:
        for key in range(5_000):
            server.make_unreadable(key)
        with pytest.raises(LegacyMisconfigured, match=r"too many rows of .* up to key \d+ cannot be selected"):
            await read(settings_for(server, mssql_timeout=10))

        assert server.stats.statements["range"] < 2_100


async def test_an_outage_while_unreadable_rows_are_looked_for_is_an_outage(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([person(id=key) for key in range(100)]) as server:
        server.make_unreadable(42)
        server.set_fault("drop", nth=4, rows=0)
        with pytest.raises(LegacyUnavailable):
            await read(settings_for(server, vaptekesync_driver=driver))

        rows = await read(settings_for(server, vaptekesync_driver=driver))

    assert [row.id for row in rows if isinstance(row, UnreadableRow)] == [42]


@pytest.mark.parametrize("number", [1205, 1222, 17_197, 701, 50_000])
async def test_an_error_that_is_not_of_a_value_is_no_unreadable_row(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int
) -> None:
    with serve([person(id=key) for key in range(10)]) as server:
        server.make_unreadable(4, number, "of the server")
        with pytest.raises(LegacyError) as failed:
            await read(settings_for(server, vaptekesync_driver=driver))

    assert isinstance(failed.value, LegacyUnavailable)
