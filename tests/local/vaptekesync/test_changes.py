"""Rows and table changed while the server runs: in the process, through the control port, and after a restart."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyodbc
import pytest
from vapteke_local import vaptekesync
from vapteke_local.vaptekesync import CUSTOMERS, DuplicateKey, NoSuchRow, Server, control
from vapteke_local.vaptekesync.table import definition

Serve = Callable[..., AbstractContextManager[Server]]
Ask = Callable[..., list[tuple[Any, ...]]]
ALL = (
    "SELECT [ID], [Phone], [FirstName], [LastName], [Email], [Birthday], [Gender], [CityID], [LastAuthAt]"
    " FROM [dbo].[Customers] WHERE [ID] > ? AND [ID] <= ? ORDER BY [ID]"
)


def command(server: Server, **given: Any) -> dict[str, Any]:
    return control(server.host, server.control_port, given)


def test_put_changes_the_named_columns_of_a_row(server: Server, ask: Ask, people: list[tuple[Any, ...]]) -> None:
    ask(server, ALL, 2, 3)

    server.put({"ID": 3, "Phone": "+7 902 000-00-00", "Email": None})

    expected = list(people[0])
    expected[1], expected[4] = "+7 902 000-00-00", None
    assert ask(server, ALL, 2, 3) == [tuple(expected)]


def test_put_adds_a_row_at_its_position(server: Server, ask: Ask) -> None:
    server.put({"ID": 4, "LastName": "Щукина", "Birthday": date(2000, 2, 29)})

    found = ask(server, ALL, 3, 6)

    assert [row[0] for row in found] == [4, 6]
    assert found[0] == (4, None, None, "Щукина", None, date(2000, 2, 29), None, None, None)


def test_removed_rows_are_gone(server: Server, ask: Ask) -> None:
    server.remove(6)

    assert [row[0] for row in ask(server, ALL, 0, 9)] == [3, 9]
    with pytest.raises(NoSuchRow):
        server.remove(6)


def test_a_result_that_is_being_read_shows_the_rows_as_they_were(
    large_server: Server, connect: Callable[..., pyodbc.Connection], people: list[tuple[Any, ...]]
) -> None:
    connection = connect(large_server)
    cursor = connection.execute(ALL, 0, 10**9)

    large_server.put({"ID": people[-1][0], "Phone": "changed"})
    rows = cursor.fetchall()

    assert [tuple(row) for row in rows] == people


def test_control_sets_values_from_texts(server: Server, ask: Ask) -> None:
    values = {"Phone": "NULL", "Birthday": "1999-12-31", "CityID": "7", "LastAuthAt": "2024-02-29T23:59:58.003"}

    assert command(server, do="set", id="3", values=values) == {"ok": True}

    found = (ask(server, ALL, 2, 3))[0]
    assert (found[1], found[5], found[7], found[8]) == (
        None,
        date(1999, 12, 31),
        7,
        datetime(2024, 2, 29, 23, 59, 58, 3_000),
    )


def test_control_adds_removes_and_shows(server: Server, ask: Ask) -> None:
    assert command(server, do="add", values={"ID": 1, "FirstName": "Ольга"}) == {"ok": True}
    assert command(server, do="remove", id=3) == {"ok": True}

    assert [row[0] for row in ask(server, ALL, 0, 6)] == [1, 6]
    shown = command(server, do="get", id="1")
    assert (shown["ok"], shown["row"]["FirstName"], shown["row"]["Phone"]) == (True, "Ольга", None)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"do": "set", "id": 3, "values": {"Birthday": "31.12.1999"}}, "column Birthday: not a date; write 2001-12-31"),
        ({"do": "set", "id": 3, "values": {"LastAuthAt": "2024-01-01T00:00:00Z"}}, "column LastAuthAt: not a datetime"),
        ({"do": "set", "id": 3, "values": {"CityID": "seven"}}, "column CityID: not a int; write a whole number"),
        (
            {"do": "set", "id": 3, "values": {"Phone": "1" * 401}},
            "column Phone: 401 characters do not fit: the column takes 400",
        ),
        ({"do": "set", "id": 3, "values": {"ID": 4}}, "column ID: a key cannot be changed"),
        ({"do": "set", "id": 3, "values": {"Fax": "1"}}, "the table has no column Fax"),
        ({"do": "set", "id": 4, "values": {"Phone": "1"}}, "no row with ID 4"),
        ({"do": "set", "id": 3}, "set needs 'values'"),
        ({"do": "add", "values": {"ID": 3}}, "a row with ID 3 exists already"),
        ({"do": "add", "values": {"Phone": "1"}}, "column ID: does not allow NULL"),
        ({"do": "remove", "id": 4}, "no row with ID 4"),
        ({"do": "fault", "kind": "explode"}, "no such fault: explode; there are refuse, delay, drop, silent, fail"),
        ({"do": "fault", "kind": "refuse", "foo": 3}, "no such option of a fault: foo; there are before, nth, number,"),
        ({"do": "fault", "kind": "refuse", "times": "x"}, "option times of a fault: expected a whole number"),
        ({"do": "fault", "kind": "refuse", "times": 0}, "option times of a fault: expected a whole number from 1 up"),
        ({"do": "fault", "kind": "drop", "nth": None}, "option nth of a fault: expected a whole number from 1 up"),
        ({"do": "fault", "kind": "delay", "seconds": "x"}, "option seconds of a fault: expected a number from 0 up"),
        ({"do": "remove", "id": None}, "no row with ID None"),
        ({"do": "remove", "id": float("inf")}, "column ID: not a int; write a whole number"),
        ({"do": "set", "id": 3, "values": ["Phone"]}, "set needs a JSON object as 'values'"),
        ({"do": "table", "table": definition.to_json(CUSTOMERS), "names": ["ID"]}, "table needs a JSON object as"),
        ({"do": "table", "table": definition.to_json(CUSTOMERS) | {"key": 1}}, "the table's definition has a value"),
        ({"do": "dance"}, "`do` is one of set, add, remove, table, commit, rollback, fault, clear, get, stats"),
    ],
)
def test_control_reports_what_is_wrong(server: Server, given: dict[str, Any], complaint: str) -> None:
    answer = command(server, **given)

    assert answer["ok"] is False
    assert complaint in answer["error"]


@pytest.mark.parametrize(
    ("sql_type", "value", "complaint"),
    [
        ("bit", "yes", "not a bit; write 0 or 1"),
        ("float", "much", "not a float; write a number such as 12.5"),
        ("decimal(18,2)", "much", "not a decimal(38,2); write a number such as 12.5"),
        ("money", "much", "not a money; write a number such as 12.5"),
        ("money", "Infinity", "not a money, or out of its range"),
        ("money", "1e15", "not a money, or out of its range"),
        ("decimal(18,2)", "1e38", "not a decimal, or out of its range"),
        ("real", "1e39", "not a real, or out of its range"),
        ("smalldatetime", "soon", "not a smalldatetime; write 2001-12-31T23:59:58.123, without a time zone"),
        ("datetimeoffset", "soon", "not a datetimeoffset; write 2001-12-31T23:59:58.123+03:00"),
        ("datetimeoffset", "0001-01-01T00:00:00+01:00", "not a datetimeoffset, or out of its range"),
    ],
)
def test_control_reports_a_value_that_is_not_of_its_type(
    serve: Serve, sql_type: str, value: str, complaint: str
) -> None:
    table = CUSTOMERS.altered("CityID", sql_type=sql_type)

    with serve([(1, *[None] * 8)], table, control_port=0) as server:
        answer = command(server, do="set", id=1, values={"CityID": value})

    assert answer == {"ok": False, "error": f"column CityID: {complaint}"}


def test_control_sets_and_clears_faults(server: Server, connect: Callable[..., pyodbc.Connection], ask: Ask) -> None:
    assert command(server, do="fault", kind="refuse") == {"ok": True}
    with pytest.raises(pyodbc.Error):
        connect(server)

    assert command(server, do="clear") == {"ok": True}
    assert ask(server, "SELECT 1") == [(1,)]


def test_control_reports_the_counters(server: Server, ask: Ask) -> None:
    ask(server, "SELECT 1")

    answer = command(server, do="stats")

    assert answer["stats"]["statements"] == {"ping": 1}
    assert answer["rows"] == 1000
    assert answer["table"] == definition.to_json(CUSTOMERS)


def test_control_replaces_the_table_and_rows_keep_what_they_can(
    server: Server, ask: Ask, people: list[tuple[Any, ...]]
) -> None:
    new = CUSTOMERS.without("Birthday").altered("ID", name="ClientID", sql_type="bigint")

    assert command(server, do="table", table=definition.to_json(new), names={"ClientID": "ID"}) == {"ok": True}

    found = ask(server, "SELECT Phone, ClientID FROM dbo.Customers WHERE ClientID <= ? ORDER BY ClientID", 6)
    assert found == [(person[1], person[0]) for person in people[:2]]
    with pytest.raises(pyodbc.Error, match="Invalid column name 'Birthday'"):
        ask(server, "SELECT Birthday FROM dbo.Customers WHERE ClientID <= ? ORDER BY ClientID", 6)


def test_a_line_that_is_not_json_is_answered(server: Server) -> None:
    with socket.create_connection((server.host, server.control_port), timeout=5) as connection:
        connection.sendall(b"phone home\n[]\n")
        lines = connection.makefile()

        assert [json.loads(lines.readline())["ok"] for _ in range(2)] == [False, False]


def test_changes_survive_a_restart(serve: Serve, people: list[tuple[Any, ...]], ask: Ask, tmp_path: Path) -> None:
    changes = tmp_path / "changes"
    with serve(people[:3], changes=changes) as server:
        server.put({"ID": 3, "Birthday": date(2000, 1, 2)})
        server.put({"ID": 7, "FirstName": "Ольга"})
        server.remove(9)
        with pytest.raises(NoSuchRow):
            server.remove(10)
        before = ask(server, ALL, 0, 100)

    with serve(people[:3], changes=changes) as server:
        assert ask(server, ALL, 0, 100) == before

    assert [row[0] for row in before] == [3, 6, 7]


def test_a_line_that_a_killed_server_left_unfinished_is_cut_off(
    serve: Serve, people: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    changes = tmp_path / "changes"
    changes.write_text('{"do": "remove", "id": 3}\n{"do": "remo')

    with serve(people[:3], changes=changes) as server:
        server.remove(6)
        assert [row[0] for row in server.rows] == [9]

    assert changes.read_text() == '{"do": "remove", "id": 3}\n{"do": "remove", "id": 6}\n'


def test_a_key_that_is_not_unique_may_be_added_twice(serve: Serve) -> None:
    loose = vaptekesync.Table("dbo", "Customers", CUSTOMERS.columns, key="ID")
    row = (1, *[None] * 8)

    with serve([row, row], loose) as server:
        server.change({"do": "add", "values": {"ID": 1}})
        assert len(server.rows) == 3

    with pytest.raises(DuplicateKey), serve([row, row]):
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def process(*options: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "VAPTEKESYNC_PASSWORD"}
    return subprocess.Popen(
        [sys.executable, "-m", "vapteke_local.vaptekesync", *options, "--database=D", "--user=U", "--seed=1"],
        env=inherited | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_made_up_customers_and_stops_at_a_signal(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], None], stop: signal.Signals
) -> None:
    port, control_port = free_port(), free_port()
    options = (f"--port={port}", f"--control-port={control_port}", "--customers=500", f"--changes={tmp_path}/changes")

    def answers() -> bool:
        try:
            return bool(control("127.0.0.1", control_port, {"do": "stats"})["rows"] == 500)
        except OSError:
            return False

    with process(*options, VAPTEKESYNC_PASSWORD="secret") as running:
        eventually(answers)
        running.send_signal(stop)
        running.communicate(timeout=5)

    assert running.returncode == 0


def test_the_process_needs_a_password() -> None:
    with process("--port=1", "--control-port=2", "--customers=1") as running:
        _, message = running.communicate(timeout=10)

    assert (running.returncode, message) == (1, "VAPTEKESYNC_PASSWORD is not set\n")
