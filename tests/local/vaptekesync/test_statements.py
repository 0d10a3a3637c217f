"""Each listed statement over both drivers, and the error for all others."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

import aioodbc
import pyodbc
import pytest
from vapteke_local.vaptekesync import CUSTOMERS, Constraint, Server, Table

Serve = Callable[..., AbstractContextManager[Server]]
Ask = Callable[..., list[tuple[Any, ...]]]
COLUMNS = (
    "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS"
    " WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)
INDEXES = """
    SELECT i.name, c.name FROM sys.indexes AS i
    JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id
    JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
    WHERE i.object_id = OBJECT_ID(?) AND i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0
      AND i.is_hypothetical = 0 AND k.key_ordinal > 0
"""
BOUNDARIES = (
    "SELECT k, n FROM (SELECT [{key}] AS k, ROW_NUMBER() OVER (ORDER BY [{key}]) AS n,"
    " LEAD([{key}]) OVER (ORDER BY [{key}]) AS following FROM [dbo].[Customers]) AS numbered"
    " WHERE n % {step} = 0 OR following IS NULL ORDER BY k"
)
ALL = (
    "[ID], CAST([Phone] AS nvarchar(4000)), CAST([FirstName] AS nvarchar(4000)), CAST([LastName] AS nvarchar(4000)),"
    " CAST([Email] AS nvarchar(4000)), [Birthday], CAST([Gender] AS nvarchar(4000)), [CityID], [LastAuthAt]"
)
RANGE = f"SELECT {ALL} FROM [dbo].[Customers] WHERE [ID] > ? AND [ID] <= ? ORDER BY [ID]"
ROWS = f"SELECT {ALL} FROM [dbo].[Customers] WHERE [ID] IN (?, ?, ?) ORDER BY [ID]"
FIRST_RANGE = f"SELECT {ALL} FROM [dbo].[Customers] WHERE [ID] <= ? ORDER BY [ID]"


def test_ping_answers_one(server: Server, ask: Ask) -> None:
    assert ask(server, "select 1;") == [(1,)]


def test_clock_is_the_one_that_the_server_was_given(serve: Serve, ask: Ask) -> None:
    now = datetime(2026, 11, 23, 9, 4, 27, 653_145)

    with serve(clock=lambda: now) as server:
        assert ask(server, "SELECT SYSUTCDATETIME()") == [(now,)]


def test_columns_are_those_of_the_table(server: Server, ask: Ask) -> None:
    assert ask(server, COLUMNS, "dbo", "Customers") == [
        ("ID", "int", "NO"),
        ("Phone", "varchar", "YES"),
        ("FirstName", "varchar", "YES"),
        ("LastName", "nvarchar", "YES"),
        ("Email", "varchar", "YES"),
        ("Birthday", "date", "YES"),
        ("Gender", "varchar", "YES"),
        ("CityID", "int", "YES"),
        ("LastAuthAt", "datetime", "YES"),
    ]


def test_a_missing_table_has_no_columns(server: Server, ask: Ask) -> None:
    assert ask(server, COLUMNS, "dbo", "Clients") == []


def test_unique_indexes_name_the_key(server: Server, ask: Ask) -> None:
    assert ask(server, INDEXES, "[dbo].[Customers]") == [("PK_Customers", "ID")]


def test_unique_indexes_name_each_column_of_a_composite_key_and_omit_constraints_that_do_not_hold(
    serve: Serve, ask: Ask
) -> None:
    both = Constraint("UQ_Both", "UNIQUE", ("ID", "CityID"))
    filtered = Constraint("IX_Some", "UNIQUE INDEX", ("ID",), has_filter=True)
    table = Table("dbo", "Customers", CUSTOMERS.columns, key="ID", constraints=(both, filtered))

    with serve(table=table) as server:
        assert ask(server, INDEXES, "[DBO].[customers]") == [("UQ_Both", "ID"), ("UQ_Both", "CityID")]


def test_the_type_of_an_object_and_its_synonyms_are_reported(serve: Serve, ask: Ask) -> None:
    synonym = "SELECT base_object_name FROM sys.synonyms WHERE object_id = OBJECT_ID(?)"
    with serve(table=replace(CUSTOMERS, type="VIEW", synonyms=("People",))) as server:
        found = ask(server, "SELECT type_desc FROM sys.objects WHERE object_id = OBJECT_ID(?)", "[dbo].[Customers]")

        assert found == [("VIEW",)]
        assert ask(server, synonym, "[dbo].[People]") == [("[dbo].[Customers]",)]
        assert ask(server, synonym, "[dbo].[Customers]") == []


def test_keys_are_counted(serve: Serve, ask: Ask) -> None:
    rows = [(key, *[None] * 8) for key in (1, 1, 2, None)]
    table = replace(CUSTOMERS.altered("ID", nullable=True), constraints=())
    with serve(rows, table) as server:
        counted = ask(server, "SELECT COUNT_BIG(*), COUNT_BIG([ID]), COUNT_BIG(DISTINCT [ID]) FROM [dbo].[Customers]")

    assert counted == [(4, 3, 2)]


def test_the_sizes_of_texts_and_their_collation_are_reported(serve: Serve, ask: Ask) -> None:
    sizes = (
        "SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME FROM INFORMATION_SCHEMA.COLUMNS"
        " WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    )
    table = CUSTOMERS.altered("LastName", sql_type="ntext").altered("Email", sql_type="varchar(max)")
    with serve(table=table) as server:
        found = {name: size for name, *size in ask(server, sizes, "dbo", "Customers")}

    assert found["ID"] == [None, None]
    assert found["Phone"] == [400, "Cyrillic_General_CI_AS"]
    assert found["LastName"] == [2**30 - 1, "Cyrillic_General_CI_AS"]
    assert found["Email"] == [-1, "Cyrillic_General_CI_AS"]


def test_the_users_permissions_on_the_table_are_reported(serve: Serve, ask: Ask) -> None:
    permissions = "SELECT permission_name FROM fn_my_permissions(?, 'OBJECT') WHERE subentity_name = ''"
    with serve(table=replace(CUSTOMERS, permissions=("SELECT", "UPDATE"))) as server:
        assert ask(server, permissions, "[dbo].[Customers]") == [("SELECT",), ("UPDATE",)]
        assert ask(server, permissions, "[dbo].[Clients]") == []


@pytest.mark.parametrize(
    ("key", "text", "expected"), [(1, "Ёлкин", 1), (1, "ёлкин ", 1), (1, "?????", 0), (2, "Ёлкин", 0), (3, "Ёлкин", 0)]
)
def test_the_text_of_a_row_is_compared(serve: Serve, ask: Ask, key: int, text: str, expected: int) -> None:
    same = "SELECT COUNT_BIG(*) FROM [dbo].[Customers] WHERE [ID] = ? AND CAST([LastName] AS nvarchar(4000)) = ?"
    rows = [(key, None, None, lastname, *[None] * 5) for key, lastname in ((1, "Ёлкин"), (2, None))]
    with serve(rows) as server:
        assert ask(server, same, key, text) == [(expected,)]


def test_the_newest_instant_leaves_out_what_is_far_in_the_future(serve: Serve, ask: Ask) -> None:
    newest = "SELECT MAX([LastAuthAt]) FROM [dbo].[Customers] WHERE [LastAuthAt] <= DATEADD(hour, 15, SYSUTCDATETIME())"
    now = datetime(2026, 11, 23, 9)
    instants = [None, datetime(2026, 11, 23, 12), datetime(2026, 11, 22), datetime(2099, 1, 1)]
    rows = [(key, *[None] * 7, instant) for key, instant in enumerate(instants)]
    with serve(rows, clock=lambda: now) as server, serve(clock=lambda: now) as empty:
        assert ask(server, newest) == [(datetime(2026, 11, 23, 12),)]
        assert ask(empty, newest) == [(None,)]


def test_the_state_of_the_database_is_reported_in_master(server: Server, ask: Ask) -> None:
    state = "SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?"

    assert ask(server, state, server.database) == [("ONLINE", "MULTI_USER")]
    assert ask(server, state, "Other") == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (400, [(1200, 400), (2400, 800), (3000, 1000)]),
        (500, [(1500, 500), (3000, 1000)]),
        (10_000, [(3000, 1000)]),
    ],
)
def test_boundaries_are_every_nth_key_and_the_last(
    server: Server, ask: Ask, step: int, expected: list[tuple[int, int]]
) -> None:
    assert ask(server, BOUNDARIES.format(key="ID", step=step)) == expected


def test_an_empty_table_has_no_boundaries(serve: Serve, ask: Ask) -> None:
    with serve() as server:
        assert ask(server, BOUNDARIES.format(key="ID", step=10)) == []


def test_boundaries_of_a_nullable_key_count_its_nulls_first(serve: Serve, ask: Ask) -> None:
    table = CUSTOMERS.without("Birthday").altered("ID", name="Number", sql_type="bigint", nullable=True)
    rows = [(key, *[None] * 7) for key in (None, 2**40, None, 5)]

    with serve(rows, table) as server:
        found = ask(server, BOUNDARIES.format(key="Number", step=3))

    assert found == [(None, 1), (5, 3), (2**40, 4)]


def test_range_excludes_its_lower_bound_and_includes_its_upper(
    server: Server, ask: Ask, people: list[tuple[Any, ...]]
) -> None:
    assert ask(server, RANGE, 6, 15) == people[2:5]


def test_first_range_has_no_lower_bound(server: Server, ask: Ask, people: list[tuple[Any, ...]]) -> None:
    assert ask(server, FIRST_RANGE, 10) == people[:3]


def test_rows_are_selected_by_their_keys(server: Server, ask: Ask, people: list[tuple[Any, ...]]) -> None:
    assert ask(server, ROWS, people[4][0], 2**40, people[2][0]) == [people[2], people[4]]
    assert ask(server, ROWS, 2**40, 2**40, None) == []
    assert ask(server, ROWS, people[2][0], people[2][0], people[2][0]) == [people[2]]


def test_bounds_may_be_literals(server: Server, ask: Ask, people: list[tuple[Any, ...]]) -> None:
    assert ask(server, RANGE.replace("> ?", "> 6").replace("<= ?", "<= 15")) == people[2:5]


def test_a_hundred_thousand_rows_arrive_unchanged(
    large_server: Server, ask: Ask, people: list[tuple[Any, ...]]
) -> None:
    assert ask(large_server, FIRST_RANGE, people[-1][0]) == people


def test_select_list_may_be_in_any_order_plain_and_cast(
    server: Server, ask: Ask, people: list[tuple[Any, ...]]
) -> None:
    sql = "SELECT LastAuthAt, Gender, CAST(FirstName AS nvarchar(3)), ID, Phone FROM dbo.Customers"

    found = ask(server, sql + " WHERE ID <= ? ORDER BY ID", 3000)

    assert found == [(p[8], p[6], p[2] and p[2][:3], p[0], p[1]) for p in people[:1000]]


def test_numbers_and_dates_are_cast_as_sql_server_writes_them(server: Server, ask: Ask) -> None:
    names = ("ID", "Birthday", "LastAuthAt")
    items = ", ".join(f"CAST([{name}] AS nvarchar(4000))" for name in names)

    found = ask(server, f"SELECT {items} FROM dbo.Customers WHERE ID <= 3 ORDER BY ID")

    assert found == [("3", "1950-01-04", "Dec 21 2023  4:23AM")]


async def test_aioodbc_reads_a_range(server: Server, dsn: Callable[..., str], people: list[tuple[Any, ...]]) -> None:
    async with (
        aioodbc.create_pool(dsn=dsn(server), minsize=1, maxsize=2, autocommit=True) as pool,
        pool.acquire() as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute(RANGE, (0, 2997))
        first, rest = await cursor.fetchmany(600), await cursor.fetchall()

    assert [tuple(row) for row in (*first, *rest)] == people[:999]


@pytest.mark.parametrize(
    ("sql", "number", "text"),
    [
        (RANGE.replace("[CityID]", "[City]"), 207, "Invalid column name 'City'."),
        (RANGE.replace("[Customers]", "[Clients]"), 208, "Invalid object name 'dbo.Clients'."),
        ("SELECT * FROM dbo.Customers", 102, "Incorrect syntax near '*'"),
        ("DELETE FROM dbo.Customers", 102, "Incorrect syntax near 'DELETE'"),
        (RANGE.replace("ORDER BY [ID]", "ORDER BY [Phone]"), 102, "Incorrect syntax near 'Phone'"),
        (ROWS.replace("ORDER BY [ID]", "ORDER BY [Phone]").replace("?", "1"), 102, "Incorrect syntax near 'Phone'"),
        ("SELECT 1, 2", 102, "answers only the statements listed in vapteke_local.vaptekesync.sql.statements"),
    ],
)
def test_a_statement_that_cannot_be_answered_is_an_error(
    server: Server, ask: Ask, sql: str, number: int, text: str
) -> None:
    parameters = (0, 10) if "?" in sql else ()

    with pytest.raises(pyodbc.Error) as error:
        ask(server, sql, *parameters)

    assert text in str(error.value)
    assert f"({number})" in str(error.value)


@pytest.mark.parametrize("driver", ["freetds"], indirect=True)
def test_procedures_that_clients_call_themselves(
    server: Server, connect: Callable[..., pyodbc.Connection], people: list[tuple[Any, ...]]
) -> None:
    connection = connect(server)
    sql = RANGE.replace("> ?", "> @above").replace("<= ?", "<= @up_to")
    declared = "@above int, @up_to int"

    at_once = connection.execute("{CALL sp_executesql(?, ?, ?, ?)}", sql, declared, 3, 9).fetchall()
    connection.execute("{CALL sp_prepare(?, ?, ?, ?)}", None, declared, sql, 1)
    by_handle = connection.execute("{CALL sp_execute(?, ?, ?)}", 1, 3, 9).fetchall()
    connection.execute("{CALL sp_unprepare(?)}", 1)

    assert [tuple(row) for row in at_once] == [tuple(row) for row in by_handle] == people[1:3]
    with pytest.raises(pyodbc.Error, match="Could not find prepared statement with handle 1"):
        connection.execute("{CALL sp_execute(?, ?, ?)}", 1, 3, 9)
    with pytest.raises(pyodbc.Error, match="Could not find stored procedure 'sp_who'"):
        connection.execute("{CALL sp_who(?)}", 1)


def test_a_statement_with_parameters_may_be_run_again_on_its_cursor(
    server: Server, connect: Callable[..., pyodbc.Connection], people: list[tuple[Any, ...]]
) -> None:
    cursor = connect(server).cursor()

    found = [cursor.execute(RANGE, above, above + 300).fetchall() for above in range(0, 3000, 300)]

    assert [tuple(row) for rows in found for row in rows] == people[:1000]
