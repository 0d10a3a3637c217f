"""Who may log in, with and without TLS."""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyodbc
import pytest
import tls
from vapteke_local.vaptekesync import Encryption, Server

Connect = Callable[..., pyodbc.Connection]
Serve = Callable[..., AbstractContextManager[Server]]


def refusal(connect: Connect, server: Server, **login: str) -> str:
    with pytest.raises(pyodbc.Error) as error:
        connect(server, **login)
    return str(error.value)


@pytest.mark.parametrize("wrong", ["user", "password"])
def test_a_wrong_user_or_password_is_error_18456(server: Server, connect: Connect, wrong: str) -> None:
    message = refusal(connect, server, **{wrong: "wrong"})

    assert f"Login failed for user '{'wrong' if wrong == 'user' else server.user}'." in message
    assert "(18456)" in message


def test_a_wrong_database_is_error_4060_and_then_18456(server: Server, connect: Connect, driver: str) -> None:
    message = refusal(connect, server, database="Other")

    # Both are sent, as by SQL Server; Microsoft's driver shows the first one, FreeTDS the last.
    if "msodbcsql" in driver:
        assert 'Cannot open database "Other" requested by the login. The login failed. (4060)' in message
    else:
        assert "(18456)" in message


def test_a_rejected_client_is_disconnected(
    server: Server, connect: Connect, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    refusal(connect, server, password="wrong")

    eventually(lambda: server.stats.connections_open == 0)
    assert server.stats.logins_refused == 1


def test_names_of_user_and_database_ignore_case_but_the_password_does_not(server: Server, connect: Connect) -> None:
    connect(server, user=server.user.upper(), database=server.database.lower())

    assert "(18456)" in refusal(connect, server, password=server.password.upper())


def test_a_client_that_requires_encryption_fails_at_once(server: Server, dsn: Callable[..., str], driver: str) -> None:
    demand = dsn(server, extra="Encryption=require").replace("Encrypt=no", "Encrypt=yes")

    started = time.monotonic()
    with pytest.raises(pyodbc.Error) as error:
        pyodbc.connect(demand, timeout=60)

    text = "Encryption not supported on SQL Server" if "msodbcsql" in driver else "Unable to connect to data source"
    assert text in str(error.value)
    assert time.monotonic() - started < 60, "it waited for its time-out"


def test_bytes_that_are_not_tds_end_the_connection(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert connection.recv(1) == b""


def test_commit_and_rollback_of_a_transaction_are_answered(server: Server, dsn: Callable[..., str]) -> None:
    def use() -> int:
        connection = pyodbc.connect(dsn(server), autocommit=False)
        connection.execute("SELECT 1").fetchall()
        connection.commit()
        connection.execute("SELECT 1").fetchall()
        connection.rollback()
        answered: int = connection.execute("SELECT 1").fetchval()
        connection.close()
        return answered

    assert use() == 1


@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("asks", ["no", "yes"])
def test_a_login_and_what_follows_it_go_through_tls(
    serve: Serve, dsn: Callable[..., str], is_forced: bool, asks: str
) -> None:
    encryption = Encryption(tls.context("trusted"), is_forced)
    extra = f"TrustServerCertificate=yes;Encryption={'require' if asks == 'yes' else 'off'}"
    rows = [(key, "89071112233", *[None] * 7) for key in range(3_000)]
    with serve(rows, encryption=encryption) as server:
        with pyodbc.connect(dsn(server, extra=extra).replace("Encrypt=no", f"Encrypt={asks}")) as connection:
            read = connection.execute("SELECT ID, Phone FROM dbo.Customers WHERE ID <= 9999 ORDER BY ID").fetchall()
        connection.close()

        assert server.stats.tls_handshakes == server.stats.logins_received == 1
    assert len(read) == 3_000


def test_a_client_that_does_not_trust_the_certificate_sends_no_login(serve: Serve, dsn: Callable[..., str]) -> None:
    with serve(encryption=Encryption(tls.context("self-signed"))) as server:
        demand = dsn(server).replace("Encrypt=no", "Encrypt=yes")
        if "msodbcsql" not in demand:
            pytest.skip("FreeTDS trusts everybody unless its own configuration says otherwise")
        with pytest.raises(pyodbc.Error, match="self-signed certificate"):
            pyodbc.connect(demand, timeout=60)

        assert server.stats.connections_accepted == 1
        assert server.stats.logins_received == 0
