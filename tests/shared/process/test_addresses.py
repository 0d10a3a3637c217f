"""IPv6: what the services listen on, what they connect to, and how it is written."""

import asyncio
import os
import sys
from typing import Any

import asyncpg
import databases
import httpx
import pytest
from favorites_api.tables import SCHEMA
from ipv6 import forwarded, needs_ipv6
from legacy_importer import legacy_errors
from legacy_importer.settings import LegacySettings
from vapteke_local.machine import ports
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.postgres import pools
from vapteke_shared.process import addresses, health, http_server
from vapteke_shared.process.connection_errors import Unavailable
from vapteke_shared.process.settings import HttpSettings, KafkaSettings, PostgresSettings, load

pytestmark = needs_ipv6


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the caller's address."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.mark.parametrize(
    ("host", "callers"),
    [
        ("::", {"[::1]": "::1", "127.0.0.1": "127.0.0.1"}),
        ("::1", {"[::1]": "::1"}),
        ("0.0.0.0", {"127.0.0.1": "127.0.0.1"}),
        ("localhost", {"127.0.0.1": "127.0.0.1"}),
    ],
)
async def test_a_service_listens_on_its_address_and_sees_the_callers(host: str, callers: dict[str, str]) -> None:
    port = ports.free_port()
    async with http_server.served(app, host, port), httpx.AsyncClient(trust_env=False) as client:
        seen = {asked: (await client.get(f"http://{asked}:{port}/")).text for asked in callers}

    assert seen == callers


def test_a_port_in_use_is_named_with_its_address() -> None:
    taken = http_server.listen("::1", 0)
    port = taken.getsockname()[1]

    with pytest.raises(SystemExit) as told:
        http_server.listen("::1", port)

    taken.close()
    assert str(told.value).startswith(f"cannot listen on [::1]:{port}: Address already in use")


@pytest.mark.parametrize("host", ["::", "::1", "[::1]", "127.0.0.1", "127.0.0.2"])
async def test_the_health_check_asks_where_the_metrics_are(host: str) -> None:
    port = ports.free_port()
    async with http_server.served(health.create_app(health.Health()), addresses.bare(host), port):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vapteke_shared.healthcheck"),
            env={**os.environ, "METRICS_PORT": str(port), "METRICS_HOST": host},
        )
        assert await process.wait() == 0


async def test_kafka_is_reached_over_ipv6(kafka_server: Kafka) -> None:
    async with forwarded(int(kafka_server.bootstrap[0].rpartition(":")[2])) as port:
        reached = await kafka_clients.read_cluster(KafkaSettings(kafka_bootstrap_servers=f"[::1]:{port}"), [])

    assert reached


async def test_a_kafka_that_does_not_answer_is_named_with_its_address() -> None:
    address = f"[::1]:{ports.free_port()}"

    with pytest.raises(Unavailable) as told:
        await kafka_clients.read_cluster(KafkaSettings(kafka_bootstrap_servers=[address]), [])

    assert str(told.value).startswith(f"Kafka at {address} cannot be reached (Connection refused)")


@pytest.mark.parametrize("servers", ["::1:9092", "::1", "[::1]", "kafka", "PLAINTEXT://kafka:9092", "[kafka]:9092"])
def test_an_invalid_host_or_port_ends_the_start(servers: str) -> None:
    with pytest.raises(SystemExit, match=r"^configuration: KAFKA_BOOTSTRAP_SERVERS"):
        load(KafkaSettings, kafka_bootstrap_servers=servers)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_postgres_is_reached_over_ipv6(postgres_server: Postgres, host: str) -> None:
    await databases.made(postgres_server, SCHEMA, "over_ipv6")
    async with forwarded(postgres_server.port) as port:
        given = databases.place(postgres_server, SCHEMA, "over_ipv6") | {"postgres_host": host, "postgres_port": port}
        async with pools.create_pool(PostgresSettings(**given), SCHEMA, 1) as pool:
            assert await pool.fetchval("SELECT 1") == 1


async def test_a_postgres_that_does_not_answer_is_named_with_its_address(postgres_server: Postgres) -> None:
    port = ports.free_port()
    given = databases.place(postgres_server, SCHEMA, "away") | {"postgres_host": "::1", "postgres_port": port}
    async with pools.create_pool(PostgresSettings(**given), SCHEMA, 1) as pool:
        with pytest.raises((Unavailable, asyncpg.PostgresError)) as told:
            await pool.fetchval("SELECT 1")

    assert str(told.value).startswith(f"Postgres at [::1]:{port} ")


def test_vaptekesync_is_named_with_its_address() -> None:
    login = {f"vaptekesync_{name}": "none" for name in ("db", "user", "password")}
    settings = LegacySettings(vaptekesync_host="[2001:db8::1]", **login)

    assert settings.vaptekesync_host == "2001:db8::1"
    assert legacy_errors.address(settings) == "vAptekeSync at [2001:db8::1]:1433"


def test_a_host_may_have_brackets() -> None:
    settings = HttpSettings(http_host="[::1]", metrics_host="::")

    assert (settings.http_host, settings.metrics_host) == ("::1", "::")
