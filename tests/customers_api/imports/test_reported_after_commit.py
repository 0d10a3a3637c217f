"""What is counted and logged has happened: nothing is told of a transaction that is rolled back at its commit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from customers_api.app import reset_offsets
from customers_api.imports import writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, record, records, start_import
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.imports import Failed
from vapteke_shared.process.health import Health


@pytest.fixture
async def owner(postgres_server: Postgres, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_server.dsn_of(database_name))
    yield connection
    await connection.close()


@asynccontextmanager
async def failing_commits(owner: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """Whoever writes to the table fails when it commits."""
    await owner.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'the disk is full' USING ERRCODE = '53100'; END $$"
    )
    await owner.execute(
        f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON customers.{table}"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(asyncpg.DiskFullError):
        yield
    await owner.execute("DROP FUNCTION refuse CASCADE")


def counts() -> tuple[float, ...]:
    """Of failed and completed imports, ignored events, and dead letters."""
    names = [
        ("vapteke_import_verdicts_total", {"status": "failed"}),
        ("vapteke_import_verdicts_total", {"status": "completed"}),
        ("vapteke_ignored_events_total", {"reason": "not_current"}),
        ("vapteke_ignored_events_total", {"reason": "not_handed_out"}),
        ("vapteke_dead_records_total", {"topic": topics.LEGACY_CUSTOMERS.name}),
    ]
    return tuple(REGISTRY.get_sample_value(name, labels) or 0 for name, labels in names)


def since(before: tuple[float, ...]) -> list[float]:
    return [now - then for now, then in zip(counts(), before, strict=True)]


async def test_a_failed_plan_is_told_once_its_end_is_committed(
    consumers: ImportConsumers, pool: asyncpg.Pool, owner: asyncpg.Connection
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
    event = Failed(import_id=job["id"], chunk=None, error="refused the login")
    progress = [record(event, offset, topic=topics.IMPORT_PROGRESS.name) for offset in range(2)]
    before = counts()

    with capture_logs() as rolled_back:
        async with failing_commits(owner, "consumed_offsets"):
            await consumers.apply_progress(progress, CLUSTER, {})
    untold = since(before)
    with capture_logs() as committed:
        await consumers.apply_progress(progress, CLUSTER, {})

    assert (rolled_back, untold) == ([], [0, 0, 0, 0, 0])
    assert [line["event"] for line in committed] == ["import failed"]
    assert since(before) == [1, 0, 1, 0, 0]


async def test_a_verdict_is_told_once_it_is_committed(pool: asyncpg.Pool, owner: asyncpg.Connection) -> None:
    await start_import(pool, upper_bounds=[])
    sweeper, before = Sweeper(pool, Health(), stalled_seconds=900), counts()

    with capture_logs() as rolled_back:
        async with failing_commits(owner, "imports"), pool.acquire() as connection:
            await sweeper.sweep(connection)
    untold = since(before)
    with capture_logs() as committed:
        async with pool.acquire() as connection:
            await sweeper.sweep(connection)

    assert (rolled_back, untold) == ([], [0, 0, 0, 0, 0])
    assert [line["event"] for line in committed] == ["import completed"]
    assert since(before) == [0, 1, 0, 0, 0]


async def test_dead_letters_and_ignored_events_are_counted_once_they_are_committed(
    consumers: ImportConsumers, owner: asyncpg.Connection, running: UUID
) -> None:
    batch = records([b"rubbish", Attempt(running, chunk=7).read(1, "79025163111")])
    before = counts()

    with capture_logs() as rolled_back:
        async with failing_commits(owner, "consumed_offsets"):
            await consumers.apply_legacy(batch, CLUSTER, {})
    untold = since(before)
    with capture_logs() as committed:
        await consumers.apply_legacy(batch, CLUSTER, {})

    assert (rolled_back, untold) == ([], [0, 0, 0, 0, 0])
    assert [line["event"] for line in committed] == ["dead letter"]
    assert since(before) == [0, 0, 0, 1, 1]


async def test_an_import_that_a_reset_fails_is_told_by_what_the_reset_returns(
    pool: asyncpg.Pool, running: UUID
) -> None:
    with capture_logs() as logged:
        async with pool.acquire() as connection, connection.transaction():
            tell = await reset_offsets(connection)
        early = [line["event"] for line in logged]
        assert tell is not None
        tell()

    assert "import failed" not in early
    assert [(line["event"], line["import_id"]) for line in logged[len(early) :]] == [("import failed", str(running))]
