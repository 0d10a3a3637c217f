"""Postgres and Kafka as the stack starts them."""

import asyncpg
from vapteke_local.kafka import Kafka
from vapteke_local.postgres import Postgres


async def test_postgres_is_version_18_and_speaks_utf8_to_a_superuser(postgres_server: Postgres) -> None:
    connection = await asyncpg.connect(postgres_server.dsn)
    assert (await connection.fetchval("SHOW server_version")).startswith("18.")
    assert await connection.fetchval("SELECT lower('ЩУКА')") == "щука"
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.close()


async def test_kafka_answers(kafka_server: Kafka) -> None:
    assert len(kafka_server.bootstrap) == 1
