"""The verdict: exact, or failed with the range and the difference."""

import asyncio
from uuid import UUID

import asyncpg
import msgspec
import pytest
from customers_api.imports import outcomes, plan_warnings, progress, writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from customers_api.settings import WorkSettings
from legacy_events import CLUSTER, Attempt, cancel, end_import, records, start_import
from table_imports import ALL, TableImports
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import Failed, Planned
from vapteke_shared.process.health import Health

PHONE = "79025163111"


@pytest.fixture
def sweeper(pool: asyncpg.Pool) -> Sweeper:
    return Sweeper(pool, Health(), stalled_seconds=900)


async def publish(pool: asyncpg.Pool, attempt: Attempt, count: int, last_offsets: dict[int, int]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await progress.range_published(connection, attempt.published(count, last_offsets), 8)


async def sweep(pool: asyncpg.Pool, sweeper: Sweeper) -> tuple[object, ...]:
    """Look once; the job's status, error, and counts: read, created, rejected, repaired."""
    async with pool.acquire() as connection:
        await sweeper.sweep(connection)
    return tuple(await pool.fetchrow("SELECT status, error, read, created, rejected, repaired FROM imports"))


def batch(attempt: Attempt) -> list[Event]:
    return [
        attempt.read(1, PHONE),
        attempt.read(2, PHONE, unusable={"email": "not_an_address"}),
        attempt.read(3, "79025163113", unusable={"email": "not_an_address", "gender": "unknown"}),
        attempt.rejected(4),
    ]


async def test_everything_counted_is_completed(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    attempt = Attempt(running)
    await consumers.apply_legacy(records(batch(attempt)), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    assert await sweep(pool, sweeper) == ("completed", None, 4, 3, 1, 3)

    conflict = await pool.fetchrow(
        "SELECT legacy_id, other_legacy_id FROM import_rejections WHERE kind = 'phone_conflict'"
    )
    assert tuple(conflict) == (1, 2)


async def test_a_call_lets_the_sweeper_end_the_import_before_it_would_look_again(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt, stopping, health = Attempt(running), asyncio.Event(), Health("sweeper")
    sweeper = Sweeper(pool, health, stalled_seconds=900)
    sweeper.every_seconds = 3600
    sweeping = asyncio.create_task(sweeper.run(stopping))
    async with asyncio.timeout(60):
        while health.faults:  # until it has looked once
            await asyncio.sleep(0.05)
    await consumers.apply_legacy(records(batch(attempt)), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    sweeper.wake_up.call()

    async with asyncio.timeout(60):
        while await pool.fetchval("SELECT status FROM imports") == "running":
            await asyncio.sleep(0.05)
    assert await pool.fetchval("SELECT status FROM imports") == "completed"
    stopping.set()
    await sweeping


async def test_nothing_ends_before_the_offsets_have_passed(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    attempt = Attempt(running)
    await consumers.apply_legacy(records(batch(attempt)[:3]), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    assert (await sweep(pool, sweeper))[0] == "running"


async def test_a_record_taken_away_fails_the_import_and_names_the_range(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper
) -> None:
    running = await start_import(pool, upper_bounds=[0, 100])
    attempt, whole = Attempt(running, chunk=1), Attempt(running, chunk=0)
    delivered = records(batch(attempt))
    await consumers.apply_legacy([delivered[0], *delivered[2:]], CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})
    await publish(pool, whole, 0, {})

    status, error, *_ = await sweep(pool, sweeper)

    assert status == "failed"
    assert error == "range 1 (keys after 0 up to 100): 4 rows were read, 3 were counted"


async def test_a_record_that_arrives_broken_fails_the_import_and_an_extra_one_does_not(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    attempt = Attempt(running)
    others = batch(attempt)[1:]
    await consumers.apply_legacy(records([b"{", *others, b"rubbish that is nobody's"]), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    status, error, *_ = await sweep(pool, sweeper)

    assert (status, error) == (
        "failed",
        "range 0 (keys after the beginning up to 1000000000): 4 rows were read, 3 were counted",
    )
    again = Attempt(await start_import(pool))
    whole = [again.read(1, PHONE), None, *batch(again)[1:], b"rubbish that is nobody's"]
    await consumers.apply_legacy(records(whole, 5), CLUSTER, {})
    await publish(pool, again, 4, {0: 9})
    async with pool.acquire() as connection:
        await sweeper.sweep(connection)
    assert await pool.fetchval("SELECT status FROM imports ORDER BY requested_at DESC LIMIT 1") == "completed"
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic LIKE '%.dead.v1'") == 4


async def test_an_event_counted_twice_fails_the_import(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    attempt = Attempt(running)
    await consumers.apply_legacy(records([*batch(attempt), attempt.rejected(9)]), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    status, error, *_ = await sweep(pool, sweeper)

    assert (status, error) == (
        "failed",
        "range 0 (keys after the beginning up to 1000000000): 4 rows were read, 5 were counted",
    )


async def test_an_attempt_that_was_lost_counts_for_nothing(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    lost, won = Attempt(running), Attempt(running)
    await consumers.apply_legacy(records([*batch(lost)[:2], *batch(won)]), CLUSTER, {})
    await publish(pool, won, 4, {0: 5})

    assert await sweep(pool, sweeper) == ("completed", None, 4, 3, 1, 3)


async def test_a_doomed_import_ends_when_nothing_is_in_flight(pool: asyncpg.Pool, sweeper: Sweeper) -> None:
    running = await start_import(pool, upper_bounds=[100, 200, 300], in_flight=2)
    async with pool.acquire() as connection, connection.transaction():
        await progress.failed(connection, Failed(import_id=running, chunk=0, error="cannot be reached"))
    assert (await sweep(pool, sweeper))[0] == "running"

    await publish(pool, Attempt(running, chunk=1), 0, {})

    assert (await sweep(pool, sweeper))[:2] == ("failed", "cannot be reached")


async def test_a_cancelled_import_accounts_for_what_was_read(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper
) -> None:
    running = await start_import(pool, upper_bounds=[100, 200, 300], in_flight=2)
    first, second = Attempt(running, chunk=0), Attempt(running, chunk=1)
    await consumers.apply_legacy(records(batch(first)), CLUSTER, {})
    await publish(pool, first, 4, {0: 3})
    await pool.execute("UPDATE import_chunks SET status = 'planned' WHERE chunk = 2")  # not yet asked for
    await cancel(pool, running)
    assert (await sweep(pool, sweeper))[0] == "running", "a range is in flight"

    await publish(pool, second, 0, {})

    assert await sweep(pool, sweeper) == ("cancelled", None, 4, 3, 1, 2)


@pytest.mark.parametrize("planned", [False, True])
async def test_cancelled_before_anything_was_asked_for_an_import_ends_at_once(
    pool: asyncpg.Pool, sweeper: Sweeper, planned: bool
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
        await writes.cancel(connection, job["id"])
        if planned:
            await progress.planned(connection, Planned(import_id=job["id"], row_count=1, upper_bounds=[1]), 8)

    assert await sweep(pool, sweeper) == ("cancelled", None, 0, 0, 0, 0)


async def test_cancelled_when_all_was_read_it_is_completed_and_says_so(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper, running: UUID
) -> None:
    attempt = Attempt(running)
    await consumers.apply_legacy(records(batch(attempt)), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 3})

    await cancel(pool, running)

    assert (await sweep(pool, sweeper))[:2] == ("completed", None)
    [warning] = await pool.fetchval("SELECT warnings FROM imports WHERE id = $1", running)
    assert warning == "the import was cancelled, but it has completed: all of its key ranges were being read already"


async def test_a_difference_is_a_failure_even_of_a_cancelled_import(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper
) -> None:
    running = await start_import(pool, upper_bounds=[100, 200], in_flight=1)
    attempt = Attempt(running, chunk=0)
    await consumers.apply_legacy(records(batch(attempt)[:3]), CLUSTER, {})
    await cancel(pool, running)

    await publish(pool, attempt, 4, {0: 2})

    status, error, *_ = await sweep(pool, sweeper)
    assert (status, error) == (
        "failed",
        "range 0 (keys after the beginning up to 100): 4 rows were read, 3 were counted",
    )


async def test_a_stalled_import_does_not_hide_a_difference(consumers: ImportConsumers, pool: asyncpg.Pool) -> None:
    running = await start_import(pool, upper_bounds=[100, 200])
    attempt = Attempt(running, chunk=0)
    await consumers.apply_legacy(records(batch(attempt)[:3]), CLUSTER, {})
    await publish(pool, attempt, 4, {0: 2})
    await cancel(pool, running)
    impatient = Sweeper(pool, Health(), stalled_seconds=1)
    await sweep(pool, impatient)

    impatient.grow_idle(2)

    status, error, *_ = await sweep(pool, impatient)
    assert (status, error) == (
        "failed",
        "range 0 (keys after the beginning up to 100): 4 rows were read, 3 were counted",
    )


async def test_what_was_read_and_is_not_applied_is_named_when_it_stalls(pool: asyncpg.Pool, running: UUID) -> None:
    await publish(pool, Attempt(running), 4, {0: 3})
    impatient = Sweeper(pool, Health(), stalled_seconds=1)
    await sweep(pool, impatient)

    impatient.grow_idle(2)

    status, error, *_ = await sweep(pool, impatient)
    assert status == "failed"
    assert str(error).startswith("what was read has not been applied since 20")
    assert str(error).endswith(": /health/ready of customers-api work shows what is missing")


async def test_a_cancel_does_not_wait_for_batch_upon_batch(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID
) -> None:
    async def busy(number: int) -> None:
        """Always in a batch, as one of three processes."""
        while not cancelled.done():
            async with pool.acquire() as connection, connection.transaction():
                await writes.lock_unfinished(connection, running)
                await asyncio.sleep(0.2 + number / 50)

    async def patiently() -> None:
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            await cancel(pool, running)

    cancelled = asyncio.create_task(patiently())
    await asyncio.gather(cancelled, *(busy(number) for number in range(3)))

    assert await pool.fetchval("SELECT cancelled_at IS NOT NULL FROM imports")


async def test_of_old_imports_the_job_alone_is_kept(consumers: ImportConsumers, pool: asyncpg.Pool) -> None:
    keeping = Sweeper(pool, Health(), stalled_seconds=900, kept=2)

    offset = 0
    for _ in range(4):
        attempt = Attempt(await start_import(pool))
        await consumers.apply_legacy(records(batch(attempt), offset), CLUSTER, {})
        await publish(pool, attempt, 4, {0: offset + 3})
        await sweep(pool, keeping)
        offset += 4

    assert await pool.fetchval("SELECT count(*) FROM imports WHERE read = 4 AND rejected = 1") == 4
    for table in ("import_rejections", "import_chunks", "import_counts"):
        kept = {row[0] for row in await pool.fetch(f"SELECT DISTINCT import_id FROM {table}")}
        assert kept == {row[0] for row in await pool.fetch("SELECT id FROM imports ORDER BY requested_at DESC LIMIT 2")}


async def test_imports_of_another_kind_do_not_push_out_what_is_kept_of_a_kind(pool: asyncpg.Pool) -> None:
    keeping, kinds = Sweeper(pool, Health(), stalled_seconds=900, kept=1), ["full", "other", "other"]
    for kind in kinds:
        import_id = await start_import(pool, upper_bounds=[])
        await pool.execute("UPDATE imports SET kind = $1 WHERE id = $2", kind, import_id)
        await pool.execute(
            "INSERT INTO import_chunks (import_id, chunk, upto_id, status) VALUES ($1, 0, 1, 'published')", import_id
        )
        await sweep(pool, keeping)

    kept = await pool.fetch("SELECT kind FROM imports i JOIN import_chunks c ON c.import_id = i.id ORDER BY kind")
    assert [row["kind"] for row in kept] == ["full", "other"]


async def test_imports_without_a_list_do_not_push_out_the_lists_of_older_ones(pool: asyncpg.Pool) -> None:
    keeping = Sweeper(pool, Health(), stalled_seconds=900, kept=1)
    jobs = [await start_import(pool, upper_bounds=[])]
    await pool.execute(
        "INSERT INTO import_rejections (import_id, legacy_id, kind, field, reason)"
        " VALUES ($1, 1, 'row', 'phone', 'missing')",
        jobs[0],
    )
    await sweep(pool, keeping)
    for _ in range(3):
        jobs.append(await start_import(pool, upper_bounds=[]))
        await sweep(pool, keeping)

    kept = await pool.fetch("SELECT id FROM imports WHERE has_details ORDER BY requested_at")
    assert [row["id"] for row in kept] == [jobs[0], jobs[-1]]
    assert await pool.fetchval("SELECT count(*) FROM import_rejections") == 1


async def test_an_import_that_waits_takes_nobodys_place_and_only_jobs_with_details_are_looked_at(
    pool: asyncpg.Pool,
) -> None:
    keeping = Sweeper(pool, Health(), stalled_seconds=900, kept=1)
    for _ in range(3):
        import_id = await start_import(pool, upper_bounds=[])
        await pool.execute(
            "INSERT INTO import_chunks (import_id, chunk, upto_id, status) VALUES ($1, 0, 1, 'published')", import_id
        )
        await sweep(pool, keeping)
    await start_import(pool, upper_bounds=[], kind="compare")
    async with pool.acquire() as connection:
        await writes.start(connection, 10_000, kind="full")
    await sweep(pool, keeping)

    kept = await pool.fetch("SELECT import_id FROM import_chunks")
    ended = "SELECT count(*) FROM imports WHERE has_details AND finished_at IS NOT NULL"
    assert [row["import_id"] for row in kept] == [import_id]
    assert await pool.fetchval(ended) == 2  # the last of each kind


async def test_an_empty_table_completes_with_a_warning(pool: asyncpg.Pool, sweeper: Sweeper) -> None:
    await start_import(pool, upper_bounds=[])

    assert await sweep(pool, sweeper) == ("completed", None, 0, 0, 0, 0)
    assert await pool.fetchval("SELECT warnings FROM imports") == [plan_warnings.EMPTY_TABLE]


async def test_a_table_with_far_fewer_rows_than_the_last_completed_import_found_is_a_warning(
    pool: asyncpg.Pool,
) -> None:
    for status, rows in (("completed", 80), ("completed", 100), ("failed", 10)):
        import_id = await start_import(pool)
        await pool.execute(
            "UPDATE imports SET status = $1, read = $2, finished_at = now() WHERE id = $3", status, rows, import_id
        )

    import_id = await start_import(pool, upper_bounds=range(94))

    [warning] = await pool.fetchval("SELECT warnings FROM imports WHERE id = $1", import_id)
    assert warning.startswith("the legacy table has 94 rows, 6.0 % fewer than the 100 of the import before.")


async def test_columns_that_have_changed_since_an_import_last_completed_are_a_warning(
    pool: asyncpg.Pool, consumers: ImportConsumers
) -> None:
    table, columns = TableImports(pool, consumers), {"birthday": "Birthday (date)", "city_id": "CityID (int)"}
    altered = columns | {"birthday": "Birthday (nvarchar)"}
    first = await table.run(ALL, columns=columns)
    same = await table.run(ALL, columns=columns)
    failing = await start_import(pool, columns=altered, row_count=len(ALL))
    await end_import(pool, "failed")
    compared = await table.run(ALL, columns=altered, kind="compare")
    changed = await table.run(ALL, columns=altered)
    by_an_earlier_importer = await table.run(ALL)
    after = await table.run(ALL, columns=altered)

    said = [await pool.fetchval("SELECT warnings FROM imports WHERE id = $1", failing)]
    said += [job["warnings"] for job in (compared, changed)]
    assert [job["warnings"] for job in (first, same, by_an_earlier_importer, after)] == [[], [], [], []]
    assert all("birthday was read from Birthday (date) and is read from Birthday (nvarchar)." in w for [w] in said)


async def test_an_import_without_progress_has_stalled(pool: asyncpg.Pool, running: UUID) -> None:
    impatient = Sweeper(pool, Health(), stalled_seconds=1.5)
    assert (await sweep(pool, impatient))[0] == "running"
    impatient.grow_idle(1)
    assert (await sweep(pool, impatient))[0] == "running"

    impatient.grow_idle(1)

    status, error, *_ = await sweep(pool, impatient)
    assert status == "failed"
    assert str(error).startswith("no importer has answered since 20")
    assert str(error).endswith(": /health/ready of legacy-importer work and customers-api work shows what is missing")


async def test_while_kafka_is_away_no_import_stalls(pool: asyncpg.Pool, running: UUID) -> None:
    health = Health("kafka")
    impatient = Sweeper(pool, health, stalled_seconds=1.5)
    await sweep(pool, impatient)

    for _ in range(9):
        impatient.grow_idle(1)

    assert (await sweep(pool, impatient))[0] == "running"


async def test_a_conflict_is_counted_for_rows_that_this_import_read(
    consumers: ImportConsumers, pool: asyncpg.Pool, sweeper: Sweeper
) -> None:
    offset, found = 0, []
    for legacy_ids in ([7, 8], [7, 8], [7], []):  # 8 holds the phone, 7 has none
        attempt = Attempt(await start_import(pool))
        read = [attempt.read(legacy_id, "79025163111") for legacy_id in legacy_ids]
        await consumers.apply_legacy(records(read, offset), CLUSTER, {})
        offset += len(read)
        await publish(pool, attempt, len(read), {0: offset - 1} if read else {})
        await sweep(pool, sweeper)
        found.append(await pool.fetchval("SELECT repaired FROM imports WHERE id = $1", attempt.import_id))

    assert found == [1, 1, 1, 0]
    assert await pool.fetchval("SELECT count(*) FROM import_readings") == 0


async def test_how_an_import_ends_is_said_in_the_order_of_imports(pool: asyncpg.Pool, sweeper: Sweeper) -> None:
    first = await start_import(pool, upper_bounds=[])
    await sweep(pool, sweeper)
    second = await start_import(pool)

    states = await pool.fetch("SELECT value FROM outbox WHERE topic = $1 ORDER BY id", topics.IMPORT_STATE.name)

    said = [(event["import_id"], event["status"]) for event in (msgspec.json.decode(row["value"]) for row in states)]
    assert said == [
        (str(first), "requested"),
        (str(first), "running"),
        (str(first), "completed"),
        (str(second), "requested"),
        (str(second), "running"),
    ]


async def test_a_failed_verdict_is_an_error_in_the_log_and_a_completed_one_with_warnings_a_warning(
    pool: asyncpg.Pool, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    completed = await start_import(pool, upper_bounds=[])
    await sweep(pool, sweeper)
    failed = await start_import(pool)
    async with pool.acquire() as connection, connection.transaction():
        [ended] = await writes.fail_unfinished(connection, "Kafka was replaced")
    outcomes.report_verdict(ended)

    lines = [line for line in capsys.readouterr().out.splitlines() if " import " in line]

    assert ["import completed" in line and str(completed) in line and "warning" in line for line in lines] == [
        True,
        False,
    ]
    assert ["import failed" in line and str(failed) in line and "error" in line for line in lines] == [False, True]
