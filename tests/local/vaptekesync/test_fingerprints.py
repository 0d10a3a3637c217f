"""Row fingerprints over both drivers: hashes, rowversions, sums, and transactions that commit late."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyodbc
import pytest
from vapteke_local.vaptekesync import CUSTOMERS, Column, Server, SqlType, Table

Serve = Callable[..., AbstractContextManager[Server]]
Ask = Callable[..., list[tuple[Any, ...]]]
WITH_ROWVERSION = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, Column("Version", SqlType("rowversion"))))
ROWVERSION = "CAST([Version] AS bigint)"
RANGE = "SELECT [ID], {} FROM [dbo].[Customers] WHERE [ID] > ? AND [ID] <= ? ORDER BY [ID]"
SUM = "SELECT {}, COUNT_BIG(*), SUM(CAST({} AS decimal(38, 0))) FROM [dbo].[Customers] WHERE {}"
IDENTITY = (
    "SELECT @@SERVERNAME, DB_NAME(), d.create_date, o.object_id, o.type_desc, o.modify_date FROM sys.objects AS o "
    "JOIN sys.databases AS d ON d.database_id = DB_ID() WHERE o.object_id = OBJECT_ID(?)"
)


def hashed(*arguments: str) -> str:
    return f"CAST(SUBSTRING(HASHBYTES('SHA2_256', CONCAT({', '.join(arguments)})), 1, 8) AS bigint)"


def fingerprint(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-16-le")).digest()[:8], "big", signed=True)


def versioned(*keys: int) -> list[tuple[Any, ...]]:
    return [(key, *[None] * 9) for key in keys]


def versions(server: Server, ask: Ask) -> dict[int, int]:
    return dict(ask(server, RANGE.format(ROWVERSION), 0, 99))


@pytest.mark.parametrize(
    ("kind", "value", "argument", "text"),
    [
        ("varchar(400)", "Ёлкина", "CAST([FirstName] AS nvarchar(400))", "6:Ёлкина"),
        ("nvarchar(400)", "Ёлкина", "CAST([FirstName] AS nvarchar(400))", "12:Ёлкина"),
        ("nvarchar(max)", "Ёлкина", "CAST([FirstName] AS nvarchar(3))", "12:Ёлк"),
        ("char(4)", "М", "CAST([FirstName] AS nvarchar(400))", "4:М   "),
        ("varchar(400)", "", "CAST([FirstName] AS nvarchar(400))", "0:"),
        ("varchar(400)", None, "CAST([FirstName] AS nvarchar(400))", ":"),
        ("int", -7, "CAST([FirstName] AS nvarchar(40))", "4:-7"),
        ("bit", True, "CAST([FirstName] AS nvarchar(40))", "1:1"),
        ("decimal(9,2)", Decimal("7.50"), "CAST([FirstName] AS nvarchar(60))", "17:7.50"),
        ("money", Decimal("7.12"), "CONVERT(nvarchar(40), [FirstName], 2)", "8:7.1200"),
        ("float", 1.0, "CONVERT(nvarchar(40), CAST([FirstName] AS binary(8)), 2)", "8:3FF0000000000000"),
        ("date", date(2001, 12, 31), "CONVERT(nvarchar(40), [FirstName], 121)", "3:2001-12-31"),
        (
            "datetime",
            datetime(2001, 12, 31, 23, 59, 58, 7_000),
            "CONVERT(nvarchar(40), [FirstName], 121)",
            "8:2001-12-31 23:59:58.007",
        ),
        (
            "datetime2(7)",
            datetime(2001, 12, 31, 23, 59, 58, 123_456),
            "CONVERT(nvarchar(40), [FirstName], 121)",
            "8:2001-12-31 23:59:58.1234560",
        ),
        (
            "datetimeoffset",
            datetime(2001, 12, 31, 23, 59, 58, 123_456, tzinfo=timezone(timedelta(hours=3))),
            "CONVERT(nvarchar(40), [FirstName], 121)",
            "10:2001-12-31 23:59:58.1234560 +03:00",
        ),
        ("datetime", None, "CONVERT(nvarchar(40), [FirstName], 121)", ":"),
    ],
)
def test_the_hash_is_that_of_the_text_which_sql_server_makes(
    serve: Serve, ask: Ask, kind: str, value: Any, argument: str, text: str
) -> None:
    table = CUSTOMERS.altered("FirstName", sql_type=kind)
    key = ("DATALENGTH([ID])", "':'", "CAST([ID] AS nvarchar(40))", "';'")

    with serve([(5, None, value, *[None] * 6)], table) as server:
        found = ask(server, RANGE.format(hashed(*key, "DATALENGTH([FirstName])", "':'", argument)), 4, 5)

    assert found == [(5, fingerprint(f"4:5;{text}"))]


def test_sums_of_ranges_are_those_of_the_rows_that_are_read(server: Server, ask: Ask) -> None:
    expression = hashed("CAST([ID] AS nvarchar(40))", "CAST([Email] AS nvarchar(400))")
    branches = [(0, "[ID] <= ?"), (1, "[ID] > ? AND [ID] <= ?"), (2, "[ID] > ? AND [ID] <= ?")]
    sql = " UNION ALL ".join(SUM.format(chunk, expression, bounds) for chunk, bounds in branches)

    rows = dict(ask(server, RANGE.format(expression), 0, 3000))
    first = [value for key, value in rows.items() if key <= 300]
    second = [value for key, value in rows.items() if 300 < key <= 3000]

    assert sorted(ask(server, sql, 300, 300, 3000, 3000, 4000)) == [
        (0, len(first), Decimal(sum(first))),
        (1, len(second), Decimal(sum(second))),
        (2, 0, None),
    ]


def test_a_changed_row_has_another_fingerprint(server: Server, ask: Ask) -> None:
    sql = RANGE.format(hashed("CAST([ID] AS nvarchar(40))", "CAST([LastName] AS nvarchar(400))"))
    [(_, before)] = ask(server, sql, 2, 3)

    server.put({"ID": 3, "LastName": "Новикова"})

    assert ask(server, sql, 2, 3) == [(3, fingerprint("3Новикова"))] != [(3, before)]


def test_a_rowversion_grows_with_each_change(serve: Serve, ask: Ask) -> None:
    with serve(versioned(1, 2), WITH_ROWVERSION) as server:
        before = versions(server, ask)
        server.put({"ID": 1, "CityID": 7})
        server.put({"ID": 3})
        after = versions(server, ask)

    assert before == {1: 1, 2: 2}
    assert after == {1: 3, 2: 2, 3: 4}


def test_a_rowversion_is_a_timestamp_that_cannot_be_selected_without_a_cast(serve: Serve, ask: Ask) -> None:
    columns = (
        "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    )
    with serve(versioned(1), WITH_ROWVERSION) as server:
        assert ask(server, columns, "dbo", "Customers")[-1] == ("Version", "timestamp", "YES")
        with pytest.raises(pyodbc.Error, match="Incorrect syntax near 'Version'"):
            ask(server, RANGE.format("[Version]"), 0, 9)


def test_a_transaction_shows_its_changes_at_the_commit_with_the_rowversions_that_it_took_before(
    serve: Serve, ask: Ask
) -> None:
    with serve(versioned(1, 2, 3), WITH_ROWVERSION) as server:
        server.change({"do": "set", "id": 1, "values": {"CityID": 7}, "transaction": "late"})
        server.change({"do": "remove", "id": 2, "transaction": "late"})
        server.put({"ID": 3, "CityID": 7})
        open_still = versions(server, ask)
        server.change({"do": "commit", "transaction": "late"})
        committed = versions(server, ask)

    assert open_still == {1: 1, 2: 2, 3: 6}
    assert committed == {1: 4, 3: 6}


def test_a_transaction_that_is_rolled_back_changes_nothing_and_releases_its_rows(serve: Serve, ask: Ask) -> None:
    with serve(versioned(1), WITH_ROWVERSION) as server:
        server.change({"do": "set", "id": 1, "values": {"CityID": 7}, "transaction": "a"})
        with pytest.raises(ValueError, match="transaction a holds the row with ID 1"):
            server.put({"ID": 1, "CityID": 8})
        server.change({"do": "rollback", "transaction": "a"})
        with pytest.raises(LookupError, match="no transaction a is open"):
            server.change({"do": "commit", "transaction": "a"})

        server.put({"ID": 1, "CityID": 9})

        assert server.rows.get(1)["CityID"] == 9


def test_a_restarted_server_shows_what_was_committed_with_the_same_rowversions(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    journal = tmp_path / "changes"
    with serve(versioned(1, 2), WITH_ROWVERSION, changes=journal) as server:
        server.change({"do": "set", "id": 1, "values": {"CityID": 7}, "transaction": "late"})
        server.put({"ID": 2, "CityID": 7})
        server.change({"do": "commit", "transaction": "late"})
        server.change({"do": "set", "id": 2, "values": {"CityID": 8}, "transaction": "lost"})
        before = versions(server, ask)

    with serve(versioned(1, 2), WITH_ROWVERSION, changes=journal) as server:
        assert versions(server, ask) == before


def test_boundaries_above_a_key_number_the_rows_from_there(server: Server, ask: Ask) -> None:
    sql = (
        "SELECT k, n FROM (SELECT [ID] AS k, ROW_NUMBER() OVER (ORDER BY [ID]) AS n,"
        " LEAD([ID]) OVER (ORDER BY [ID]) AS following FROM [dbo].[Customers] WHERE [ID] > ?) AS numbered"
        " WHERE n % 400 = 0 OR following IS NULL ORDER BY k"
    )

    assert ask(server, sql, 1500) == [(2700, 400), (3000, 500)]
    assert ask(server, sql, 3000) == []


def test_an_altered_table_has_the_same_id_and_another_modification_date(serve: Serve, ask: Ask) -> None:
    def identity(table: Table) -> tuple[Any, ...]:
        with serve(table=table) as server:
            [row] = ask(server, IDENTITY, "[dbo].[Customers]")
            return row

    first, again, altered = map(identity, (CUSTOMERS, CUSTOMERS, CUSTOMERS.altered("CityID", sql_type="bigint")))

    assert first == again
    assert altered[:5] == first[:5]
    assert altered[5] != first[5]
    assert first[1:5] == ("vAptekeSync", datetime(2020, 1, 1), 901578250, "USER_TABLE")
