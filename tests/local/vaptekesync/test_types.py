"""Values of every type, read through both drivers."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from vapteke_local.vaptekesync import BadValue, Column, Constraint, DuplicateKey, Server, Table
from vapteke_local.vaptekesync.types.definitions import parse

Serve = Callable[..., AbstractContextManager[Server]]
Ask = Callable[..., list[tuple[Any, ...]]]
Read = Callable[..., list[Any]]
EXTREMES: list[tuple[str, list[Any]]] = [
    ("tinyint", [0, 255]),
    ("smallint", [-(2**15), 2**15 - 1]),
    ("int", [-(2**31), 2**31 - 1]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("bit", [True, False]),
    ("date", [date(1, 1, 1), date(9999, 12, 31)]),
    ("datetime", [datetime(1753, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 997_000)]),
    ("datetime2", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)]),
    ("datetime2(3)", [datetime(2023, 12, 21, 4, 20, 37, 24_000)]),
    ("datetime2(0)", [datetime(2023, 12, 21, 4, 20, 37)]),
    ("nvarchar(4000)", ["", "ё" * 4000, "Ольга 🌷 𐍈"]),
    ("nvarchar(max)", ["", "щ" * 20_000]),
    ("varchar(8000)", ["", "Ё" * 8000, "№ «ёлки» – €"]),
    ("varchar(max)", ["", "Ж" * 20_000]),
    ("decimal(38,4)", [Decimal("-79025163111.5000"), Decimal(10**34) - Decimal("0.0001"), Decimal("0.0000")]),
    ("numeric(18,0)", [Decimal(-(10**18) + 1), Decimal(10**18 - 1)]),
    ("money", [Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")]),
    ("smallmoney", [Decimal("-214748.3648"), Decimal("214748.3647")]),
    ("float", [-1.7976931348623157e308, 2.2250738585072014e-308, 79025163111.0]),
    ("real", [0.5, -3.4028234663852886e38]),
    ("smalldatetime", [datetime(1900, 1, 1), datetime(2079, 6, 6, 23, 59)]),
]


def table_of(sql_type: str) -> Table:
    columns = (Column("ID", parse("int"), nullable=False), Column("Value", parse(sql_type)))
    return Table("dbo", "Things", columns, key="ID", constraints=(Constraint("PK", "PRIMARY KEY", ("ID",)),))


@pytest.fixture
def read(serve: Serve, ask: Ask) -> Read:
    """`read(sql_type, values, item)`: the values as they are read from a column of that type."""

    def through(sql_type: str, values: list[Any], item: str = "[Value]") -> list[Any]:
        with serve(list(enumerate(values)), table_of(sql_type)) as server:
            rows = ask(server, f"SELECT [ID], {item} FROM dbo.Things WHERE ID > ? AND ID <= ? ORDER BY ID", -1, 99)
        return [value for _, value in rows]

    return through


@pytest.mark.parametrize(("sql_type", "values"), EXTREMES, ids=[name for name, _ in EXTREMES])
def test_extremes_and_null_arrive_unchanged(read: Read, sql_type: str, values: list[Any]) -> None:
    assert read(sql_type, [None, *values]) == [None, *values]


def test_cp1251_arrives_as_cyrillic_cast_and_uncast(read: Read) -> None:
    names = ["Ёжиков", "Щукина", None, "smith"]

    cast = read("varchar(400)", names, "CAST([Value] AS nvarchar(4000))")
    uncast = read("varchar(400)", names)

    assert cast == uncast == names


def test_a_character_that_cp1251_lacks_becomes_a_question_mark(read: Read) -> None:
    assert read("varchar(400)", ["Ольга 🌷"], "CAST([Value] AS nvarchar(4000))") == ["Ольга ?"]


def test_a_datetimeoffset_is_converted_to_a_text_with_its_offset(read: Read) -> None:
    values = [None, datetime(2023, 12, 21, 4, 20, 37, 24_001, timezone(timedelta(hours=-9, minutes=-30)))]

    shown = read("datetimeoffset(7)", values, "CONVERT(nvarchar(40), [Value], 126)")

    assert shown == [None, "2023-12-21T04:20:37.0240010-09:30"]


@pytest.mark.parametrize("sql_type", ["char(9)", "nchar(9)"])
def test_a_text_of_fixed_length_is_filled_with_spaces(read: Read, sql_type: str) -> None:
    assert read(sql_type, ["Ёж", None], "CAST([Value] AS nvarchar(4000))") == ["Ёж       ", None]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (datetime(2023, 12, 21, 4, 20, 37, 24_000), datetime(2023, 12, 21, 4, 20, 37, 23_000)),
        (datetime(2023, 12, 21, 4, 20, 37, 25_000), datetime(2023, 12, 21, 4, 20, 37, 27_000)),
        (datetime(2023, 12, 21, 4, 20, 37, 29_000), datetime(2023, 12, 21, 4, 20, 37, 30_000)),
        (datetime(2023, 12, 31, 23, 59, 59, 999_000), datetime(2024, 1, 1)),
    ],
)
def test_datetime_counts_three_hundredths_of_a_second(read: Read, given: datetime, kept: datetime) -> None:
    assert read("datetime", [given]) == [kept]


def test_a_text_key_orders_the_rows(serve: Serve, ask: Ask) -> None:
    columns = (Column("Code", parse("nvarchar(10)")), Column("Value", parse("int")))
    rows = [("b", 2), (None, 0), ("a", 1), ("b", 3)]

    with serve(rows, Table("dbo", "Things", columns, key="Code")) as server:
        found = ask(server, "SELECT Code, Value FROM dbo.Things WHERE Code > ? AND Code <= ? ORDER BY Code", "", "b")

    assert found == [("a", 1), ("b", 2), ("b", 3)]


@pytest.mark.parametrize(
    ("sql_type", "value", "complaint"),
    [
        ("varchar(3)", "four", "column Value: 4 characters do not fit: the column takes 3"),
        ("int", 2**31, "column Value: not a whole number of 4 bytes"),
        ("int", "1", "column Value: not a whole number of 4 bytes"),
        ("date", "2001-01-01", "column Value: not a value of type date"),
        ("float", "1", "column Value: not a float, or out of its range"),
        ("decimal(18,2)", "much", "column Value: not a decimal, or out of its range"),
        ("smallmoney", Decimal(214_749), "column Value: not a smallmoney, or out of its range"),
        ("datetime", datetime(1700, 1, 1), "column Value: datetime begins with the year 1753"),
    ],
)
def test_a_value_that_does_not_fit_names_its_column(serve: Serve, sql_type: str, value: Any, complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint.replace("(", r"\(")), serve([(1, value)], table_of(sql_type)):
        pass


def test_a_unique_key_is_enforced(serve: Serve) -> None:
    with pytest.raises(DuplicateKey), serve([(1, 1), (2, 2), (1, 3)], table_of("int")):
        pass
