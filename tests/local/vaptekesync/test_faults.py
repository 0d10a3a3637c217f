"""Faults on command, cancellation, and the state of a client afterwards."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyodbc
import pytest
from vapteke_local.vaptekesync import Server

Ask = Callable[..., list[tuple[Any, ...]]]
Connect = Callable[..., pyodbc.Connection]
HangUp = Callable[[Server], None]
Eventually = Callable[[Callable[[], bool]], None]
RANGE = "SELECT ID, CAST(Phone AS nvarchar(4000)) FROM dbo.Customers WHERE ID <= ? ORDER BY ID"
EVERYTHING = 10**9


def read(connection: pyodbc.Connection, got: list[Any]) -> None:
    """Fetches a whole range in parts, so that `got` shows how far it came."""
    cursor = connection.execute(RANGE, EVERYTHING)
    while rows := cursor.fetchmany(100):
        got += rows


def fetch_one(connection: pyodbc.Connection) -> int:
    value: int = connection.execute("SELECT 1").fetchval()
    return value


def error_of(action: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(pyodbc.Error) as error:
        action(*arguments)
    return str(error.value)


def test_refuse_closes_new_connections_and_keeps_old_ones(server: Server, connect: Connect) -> None:
    old = connect(server)

    server.set_fault("refuse")
    error_of(connect, server)

    assert fetch_one(old) == 1
    assert server.stats.connections_refused >= 1


def test_refuse_ends_with_clear(server: Server, connect: Connect, ask: Ask) -> None:
    server.set_fault("refuse")
    error_of(connect, server)

    server.clear_faults()

    assert ask(server, "SELECT 1") == [(1,)]


def test_delay_comes_before_each_answer(server: Server, ask: Ask) -> None:
    server.set_fault("delay", seconds=0.3)

    started = time.monotonic()
    ask(server, "SELECT 1")

    assert time.monotonic() - started >= 0.3


def test_delay_of_the_login_does_not_delay_answers(server: Server, connect: Connect) -> None:
    server.set_fault("delay", seconds=0.3, before="login")

    started = time.monotonic()
    connection = connect(server)
    logged_in = time.monotonic()
    fetch_one(connection)

    assert logged_in - started >= 0.3
    assert time.monotonic() - logged_in < logged_in - started


def test_a_query_time_out_leaves_the_connection_usable(server: Server, connect: Connect) -> None:
    connection = connect(server)
    connection.timeout = 1
    server.set_fault("delay", seconds=60, times=1)

    message = error_of(fetch_one, connection)

    assert "HYT00" in message
    assert fetch_one(connection) == 1
    assert server.stats.attentions >= 1


def test_drop_ends_the_result_after_so_many_rows(large_server: Server, connect: Connect) -> None:
    connection = connect(large_server)
    large_server.set_fault("drop", rows=3000)
    got: list[Any] = []

    error_of(read, connection, got)

    assert 0 < len(got) <= 3000
    assert large_server.stats.rows_sent == 3000


def test_drop_waits_for_the_nth_range(server: Server, connect: Connect) -> None:
    connection = connect(server)
    server.set_fault("drop", rows=10, nth=2)
    first: list[Any] = []
    second: list[Any] = []

    fetch_one(connection)
    read(connection, first)
    error_of(read, connection, second)

    assert (len(first), len(second) <= 10) == (1000, True)


def test_drop_strikes_once_by_default(server: Server, ask: Ask, connect: Connect) -> None:
    server.set_fault("drop", rows=10)
    error_of(read, connect(server), [])

    assert len(ask(server, RANGE, EVERYTHING)) == 1000

    server.set_fault("drop", rows=10, times=2)
    for _ in range(2):
        error_of(read, connect(server), [])

    assert len(ask(server, RANGE, EVERYTHING)) == 1000


def test_nobody_can_log_in_to_a_silent_server(server: Server, connect: Connect, ask: Ask) -> None:
    server.set_fault("silent")

    started = time.monotonic()
    message = error_of(lambda: connect(server, timeout=1))

    assert "HYT00" in message
    assert time.monotonic() - started < 60
    server.clear_faults()
    assert ask(server, "SELECT 1") == [(1,)]


def test_a_silent_server_does_not_answer_a_statement_nor_its_cancellation(
    server: Server, connect: Connect, hang_up: HangUp
) -> None:
    connection = connect(server)
    connection.timeout = 1
    server.set_fault("silent")

    message = error_of(fetch_one, connection)

    assert "HYT00" in message
    assert server.stats.attentions == 0
    hang_up(server)


def test_silence_in_the_middle_of_a_result_lasts_until_the_connection_is_cut(
    large_server: Server, connect: Connect, hang_up: HangUp, eventually: Eventually, threads: ThreadPoolExecutor
) -> None:
    connection = connect(large_server)
    large_server.set_fault("silent", rows=3000)
    got: list[Any] = []

    reading = threads.submit(error_of, read, connection, got)
    eventually(lambda: len(got) >= 2900)
    with pytest.raises(TimeoutError):
        reading.result(timeout=0.3)
    hang_up(large_server)

    assert reading.result(timeout=5)
    assert len(got) <= 3000


def test_fail_shows_its_error_at_the_nth_statement(server: Server, connect: Connect) -> None:
    connection = connect(server)
    server.set_fault("fail", nth=2, number=1205, severity=13, state=51, text="Transaction was deadlocked.")

    fetch_one(connection)
    message = error_of(fetch_one, connection)

    assert "Transaction was deadlocked." in message
    assert "(1205)" in message
    assert fetch_one(connection) == 1


def test_fail_in_the_middle_of_a_result_comes_after_the_rows(server: Server, connect: Connect) -> None:
    connection = connect(server)
    server.set_fault("fail", rows=250, number=1205, severity=13, text="Transaction was deadlocked.")
    got: list[Any] = []

    message = error_of(read, connection, got)

    assert "(1205)" in message
    assert len(got) == 200
    assert fetch_one(connection) == 1


def test_a_failure_may_be_limited_to_one_statement(server: Server, connect: Connect) -> None:
    connection = connect(server)
    server.set_fault("fail", statement="range", number=823, text="I/O error.")

    assert fetch_one(connection) == 1
    assert "(823)" in error_of(read, connection, [])


def test_a_fatal_error_ends_the_connection(server: Server, connect: Connect, eventually: Eventually) -> None:
    connection = connect(server)
    server.set_fault("fail", number=824, severity=24, text="I/O error.")

    assert "(824)" in error_of(fetch_one, connection)

    eventually(lambda: server.stats.connections_open == 0)
    error_of(fetch_one, connection)


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [("explode", {}, "no such fault: explode"), ("drop", {"row": 1}, "no such option of a fault: row")],
)
def test_an_unknown_fault_is_rejected(server: Server, kind: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        server.set_fault(kind, **options)


def test_cancel_from_another_thread_during_a_result_leaves_the_connection_usable(
    large_server: Server, connect: Connect, eventually: Eventually, threads: ThreadPoolExecutor
) -> None:
    connection = connect(large_server)
    cursor = connection.execute(RANGE, EVERYTHING)
    got: list[Any] = []

    def fetch_slowly() -> None:
        while rows := cursor.fetchmany(10):
            got.extend(rows)
            time.sleep(0.001)

    reading = threads.submit(error_of, fetch_slowly)
    eventually(lambda: len(got) > 100)
    cursor.cancel()

    assert reading.result(timeout=5)
    assert len(got) < 100_000
    assert fetch_one(connection) == 1
    assert large_server.stats.attentions >= 1


def test_cancel_of_a_statement_that_waits_is_an_error_at_once(
    server: Server, connect: Connect, eventually: Eventually, threads: ThreadPoolExecutor
) -> None:
    connection = connect(server)
    cursor = connection.cursor()
    server.set_fault("delay", seconds=60, times=1)

    waiting = threads.submit(error_of, cursor.execute, "SELECT 1")
    eventually(lambda: server.stats.statements["ping"] == 1)
    cursor.cancel()

    assert "HY008" in waiting.result(timeout=5)
    assert fetch_one(connection) == 1


def test_counters_count_what_was_served(server: Server, ask: Ask, eventually: Eventually) -> None:
    ask(server, RANGE, EVERYTHING)
    ask(server, "SELECT 1")

    eventually(lambda: server.stats.connections_open == 0)
    assert server.stats.connections_accepted == 2
    assert server.stats.statements == {"range": 1, "ping": 1}
    assert server.stats.rows_sent == 1001
