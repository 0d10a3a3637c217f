"""Servers without TLS and without logins, and none at all: what a connection that asks for more is told."""

import asyncio
import socket
import struct
from typing import Any

import databases
import pytest
from favorites_api.tables import SCHEMA
from pydantic import SecretStr
from vapteke_local.machine import ports
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.postgres import pools, sessions
from vapteke_shared.process.connection_errors import Misconfigured, Unavailable
from vapteke_shared.process.settings import KafkaSettings, PostgresSettings

LOGIN = {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "somebody", "kafka_sasl_password": "s3cret"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"kafka_security_protocol": "SSL"},
            " closes the connection, as if it did not use SSL: check KAFKA_SECURITY_PROTOCOL",
        ),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", **LOGIN},
            " does not expect a login: check KAFKA_SECURITY_PROTOCOL and the port",
        ),
    ],
    ids=["TLS", "login"],
)
async def test_a_kafka_with_other_security_is_reported(kafka_server: Kafka, given: dict[str, Any], text: str) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_server.bootstrap, **given)

    with pytest.raises(Unavailable) as told:
        await kafka_clients.read_cluster(settings, [])

    assert str(told.value) == f"Kafka at {kafka_server.bootstrap[0]}{text}"


async def test_a_kafka_that_does_not_answer_is_only_unavailable(kafka_server: Kafka) -> None:
    address = f"127.0.0.1:{ports.free_port()}"

    with pytest.raises(Unavailable) as told:
        await kafka_clients.read_cluster(KafkaSettings(kafka_bootstrap_servers=[address]), [])

    assert not isinstance(told.value, Misconfigured)
    assert (
        str(told.value) == f"Kafka at {address} cannot be reached (Connection refused): check KAFKA_BOOTSTRAP_SERVERS"
    )


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"postgres_sslmode": "require"}, Misconfigured, "does not support TLS: check POSTGRES_SSLMODE"),
        ({"postgres_sslmode": "verify-full"}, Misconfigured, "does not support TLS: check POSTGRES_SSLMODE"),
        ({"postgres_db": "nowhere"}, Misconfigured, "has no such database: check POSTGRES_DB"),
        (
            {"postgres_password": "s3cret"},
            Misconfigured,
            "rejects the login: check POSTGRES_USER and POSTGRES_PASSWORD",
        ),
        (
            {"postgres_host": "nowhere.invalid"},
            Unavailable,
            "cannot be reached (Name or service not known): check POSTGRES_HOST and POSTGRES_PORT",
        ),
    ],
    ids=["require", "verify-full", "database", "password", "host"],
)
async def test_a_postgres_that_rejects_us_is_reported(
    postgres_server: Postgres, given: dict[str, Any], kind: type[Unavailable], text: str
) -> None:
    await databases.made(postgres_server, SCHEMA, "told")
    settings = PostgresSettings(**databases.place(postgres_server, SCHEMA, "told") | given)

    with pytest.raises(Unavailable) as told:
        async with pools.create_pool(settings, SCHEMA, 1) as pool:
            await pool.fetch("SELECT")

    assert type(told.value) is kind
    assert str(told.value) == f"Postgres at {settings.postgres_host[0]}:{settings.postgres_port[0]} {text}"


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
@pytest.mark.parametrize("is_listened_to", [False, True], ids=["at once", "after the first bytes"])
@pytest.mark.parametrize("linger", [struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)], ids=["ends", "resets"])
async def test_a_server_that_hangs_up_is_only_unavailable(mode: str, is_listened_to: bool, linger: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_listened_to:
            await reader.read(1024)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        access = {"postgres_user": "anybody", "postgres_password": "none", "postgres_db": "any"}
        settings = PostgresSettings(postgres_host="127.0.0.1", postgres_port=str(port), postgres_sslmode=mode, **access)
        with pytest.raises(Unavailable) as told:
            await sessions.connect(settings)

    assert not isinstance(told.value, Misconfigured)
    assert (
        str(told.value) == f"Postgres at 127.0.0.1:{port} closes the connection:"
        " check that POSTGRES_HOST and POSTGRES_PORT lead to a Postgres that is running"
    )


@pytest.mark.parametrize("mode", ["disable", "prefer"])
async def test_a_postgres_without_tls_accepts_clients_without_it(postgres_server: Postgres, mode: str) -> None:
    await databases.made(postgres_server, SCHEMA, "without_tls")
    place: dict[str, Any] = databases.place(postgres_server, SCHEMA, "without_tls") | {"postgres_sslmode": mode}

    async with pools.create_pool(PostgresSettings(**place), SCHEMA, 1) as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_the_same_fault_of_several_hosts_is_reported_once() -> None:
    port = ports.free_port()
    access = {"postgres_user": "anybody", "postgres_password": "none", "postgres_db": "any"}
    settings = PostgresSettings(postgres_host="127.0.0.1,127.0.0.1", postgres_port=str(port), **access)

    with pytest.raises(Unavailable) as told:
        await sessions.connect(settings)

    assert str(told.value) == (
        f"Postgres at 127.0.0.1:{port} cannot be reached (Connection refused): check POSTGRES_HOST and POSTGRES_PORT"
    )


async def test_the_faults_of_several_hosts_are_all_reported(postgres_server: Postgres) -> None:
    await databases.made(postgres_server, SCHEMA, "several_told")
    closed, port = ports.free_port(), postgres_server.port
    given: dict[str, Any] = {"postgres_host": "127.0.0.1,127.0.0.1", "postgres_port": f"{closed},{port}"}
    settings = PostgresSettings(**databases.place(postgres_server, SCHEMA, "several_told") | given)
    refused = settings.model_copy(update={"postgres_password": SecretStr("s3cret")})

    async with pools.create_pool(settings, SCHEMA, 1) as pool:
        assert await pool.fetchval("SELECT 1") == 1
    with pytest.raises(Unavailable) as told:
        async with pools.create_pool(refused, SCHEMA, 1) as pool:
            await pool.fetch("SELECT")

    assert not isinstance(told.value, Misconfigured)  # the host that is closed may come back, and take the password
    assert set(str(told.value).split("; ")) == {
        f"Postgres at 127.0.0.1:{closed} cannot be reached (Connection refused): check POSTGRES_HOST and POSTGRES_PORT",
        f"Postgres at 127.0.0.1:{port} rejects the login: check POSTGRES_USER and POSTGRES_PASSWORD",
    }
