"""Which key ranges are stored with their fingerprints, and which of them an import of changes must read again."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from customers_api.customers import restorations
from customers_api.customers import writes as customer_writes
from customers_api.imports import jobs, old_details, progress, queries, row_imports, writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, cancel, end_import, records
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.imports import Planned, PlanRequested
from vapteke_shared.process.health import Health

NOW = datetime.now(UTC)
BASIS = {"server": "SQL1", "table_id": "7"}
BOUNDS = (10, 20, 30)
FULL = {10: "10:1", 20: "10:2", 30: "10:3"}


def phone(legacy_id: int) -> str:
    return f"7902516{legacy_id:04}"


class Imports:
    """Imports of the rows 1 to 30, of which each range of ten publishes the fingerprint that it is given."""

    def __init__(self, pool: asyncpg.Pool, consumers: ImportConsumers) -> None:
        self._pool, self._consumers, self._offset = pool, consumers, 0

    async def request(self, kind: Any = "changes") -> tuple[UUID, PlanRequested]:
        async with self._pool.acquire() as connection:
            job, is_new = await writes.start(connection, 10, kind=kind)
        assert is_new
        value, headers = await self._pool.fetchrow(
            "SELECT value, headers FROM outbox WHERE topic = $1 ORDER BY id DESC LIMIT 1", topics.IMPORT_TASKS.name
        )
        names = msgspec.json.decode(headers)
        task = codec.decode(value, [(name, str(content).encode()) for name, content in names.items()])
        assert isinstance(task, PlanRequested)
        return job["id"], task

    async def plan(self, import_id: UUID, unread: list[int] | None = None, **changed: Any) -> str | None:
        facts = {"row_count": 30, "upper_bounds": list(BOUNDS), "unread": unread, "basis": BASIS} | changed
        async with self._pool.acquire() as connection, connection.transaction():
            handled = await progress.planned(connection, Planned(import_id=import_id, **facts), 8)
            assert not isinstance(handled, asyncpg.Record)
            return handled

    async def read(
        self,
        import_id: UUID,
        fingerprints: Mapping[int, str | None] = FULL,
        *,
        missing: Collection[int] = (),
        unusable: Mapping[int, dict[str, str]] = {},
        basis: dict[str, str] = BASIS,
        losing_attempt_reads: Collection[int] = (),
        valid_until: datetime | None = None,
    ) -> None:
        """Read the ranges that were requested."""
        ranges = await self._pool.fetch(
            "SELECT * FROM import_chunks WHERE import_id = $1 AND status = 'requested' ORDER BY chunk", import_id
        )
        for each in ranges:
            keys = range((each["after_id"] or 0) + 1, each["upto_id"] + 1)
            lost = Attempt(import_id, each["chunk"], number=each["number"])
            await self._apply([lost.read(key, phone(key)) for key in keys if key in losing_attempt_reads])
            attempt = Attempt(import_id, each["chunk"], number=each["number"])
            events = [attempt.read(key, phone(key), unusable=unusable.get(key)) for key in keys if key not in missing]
            await self._apply(events)
            published = attempt.published(len(events), {0: self._offset - 1} if events else {})
            published.fingerprint, published.basis = fingerprints[each["upto_id"]], basis
            published.valid_until = valid_until
            async with self._pool.acquire() as connection, connection.transaction():
                assert await progress.range_published(connection, published, 8) is None

    async def _apply(self, events: list[Any]) -> None:
        await self._consumers.apply_legacy(records(events, self._offset), CLUSTER, {})
        self._offset += len(events)

    async def end(self, import_id: UUID) -> asyncpg.Record:
        async with self._pool.acquire() as connection:
            await Sweeper(self._pool, Health(), 900).sweep(connection)
        return await self._pool.fetchrow("SELECT * FROM imports WHERE id = $1", import_id)

    async def start_row(self, legacy_id: int) -> UUID:
        """Start an import of kind `rows` that reads one row."""
        async with self._pool.acquire() as connection:
            return await row_imports.start(connection, row_imports.by_legacy_ids([legacy_id]), None)

    async def read_row(self, import_id: UUID, legacy_id: int) -> asyncpg.Record:
        """End the import that `start_row` has started. The row is unchanged. Returns the job."""
        await self.read(import_id, {legacy_id: None})
        return await self.end(import_id)

    async def run(self, **read: Any) -> asyncpg.Record:
        import_id, _ = await self.request("full")
        await self.plan(import_id)
        await self.read(import_id, **read)
        return await self.end(import_id)

    async def stored(self) -> dict[int, str | None]:
        return dict(await self._pool.fetch("SELECT upto_id, fingerprint FROM stored_ranges ORDER BY upto_id"))


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> Imports:
    return Imports(pool, consumers)


async def customer_of(pool: asyncpg.Pool, legacy_id: int) -> int:
    customer: int = await pool.fetchval("SELECT customer_id FROM legacy_customers WHERE legacy_id = $1", legacy_id)
    return customer


async def test_a_completed_import_stores_its_ranges_and_the_next_request_of_changes_names_them(
    imports: Imports,
) -> None:
    assert (await imports.run())["status"] == "completed"

    _, task = await imports.request()

    assert await imports.stored() == FULL
    assert task.stored_bounds == list(BOUNDS)
    assert task.stored_fingerprints == list(FULL.values())
    assert task.basis == BASIS


async def test_only_ranges_with_changes_are_requested_and_the_job_counts_the_others_as_unread(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    import_id, _ = await imports.request()
    await imports.plan(import_id, [0, 2])
    async with pool.acquire() as connection:
        job = await queries.find(connection, import_id)
    assert job is not None
    halfway = jobs.describe(job)

    await imports.read(import_id, {20: "10:9"})
    ended = await imports.end(import_id)

    assert (halfway.unread, halfway.percent) == (20, 0.0)
    assert (ended["status"], ended["kind"], ended["read"], ended["unread"]) == ("completed", "changes", 10, 20)
    assert await imports.stored() == {10: "10:1", 20: "10:9", 30: "10:3"}


async def test_nothing_is_requested_when_nothing_has_changed(imports: Imports, pool: asyncpg.Pool) -> None:
    await imports.run()
    import_id, _ = await imports.request()
    await imports.plan(import_id, [0, 1, 2])

    ended = await imports.end(import_id)

    assert (ended["status"], ended["read"], ended["unread"], ended["gone"]) == ("completed", 0, 30, 0)
    assert await pool.fetchval("SELECT count(*) FROM import_chunks WHERE import_id = $1", import_id) == 0
    assert await imports.stored() == FULL


async def test_ranges_that_an_import_reads_are_void_until_it_has_completed(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    import_id, _ = await imports.request()
    await imports.plan(import_id, [0, 2])
    await cancel(pool, import_id)
    await imports.read(import_id, {20: "10:9"})
    await end_import(pool, "failed")

    _, task = await imports.request()

    assert task.stored_fingerprints == ["10:1", None, "10:3"]


async def test_after_a_full_import_that_failed_the_next_import_of_changes_is_full_and_says_why(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    import_id, _ = await imports.request("full")
    await imports.plan(import_id)
    await end_import(pool, "failed")

    import_id, task = await imports.request()

    assert task.stored_bounds is None
    job = await pool.fetchrow("SELECT kind, full_because FROM imports WHERE id = $1", import_id)
    assert tuple(job) == ("full", "no key ranges are stored")


async def test_more_stored_ranges_than_a_task_can_name_make_the_import_full(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    await pool.execute(
        "INSERT INTO stored_ranges (upto_id, fingerprint, import_id)"
        " SELECT 1000000000 + n, '10000:' || repeat('9', 30), (SELECT id FROM imports)"
        " FROM generate_series(1, 30000) AS n"
    )

    import_id, task = await imports.request()

    assert (task.stored_bounds, task.stored_fingerprints, task.basis) == (None, None, None)
    job = await pool.fetchrow("SELECT kind, full_because FROM imports WHERE id = $1", import_id)
    assert tuple(job) == ("full", "more key ranges are stored than a task can name")


async def test_an_importer_that_reads_everything_makes_the_import_full(imports: Imports, pool: asyncpg.Pool) -> None:
    await imports.run()
    import_id, _ = await imports.request()

    await imports.plan(import_id, None, full_because="these have changed since the last import: server")
    await imports.read(import_id)
    job = await imports.end(import_id)

    assert (job["kind"], job["read"], job["unread"]) == ("full", 30, 0)
    assert job["full_because"] == "these have changed since the last import: server"
    assert await imports.stored() == FULL


async def test_new_ranges_replace_the_last_one_that_they_cover(imports: Imports) -> None:
    await imports.run()
    import_id, _ = await imports.request()

    await imports.plan(import_id, [0, 1], row_count=45, upper_bounds=[10, 20, 35, 45])
    await imports.read(import_id, {35: "15:4", 45: "10:5"})
    await imports.end(import_id)

    assert await imports.stored() == {10: "10:1", 20: "10:2", 35: "15:4", 45: "10:5"}


async def test_a_range_with_a_value_in_the_future_is_read_when_its_time_comes(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run(unusable={15: {"last_auth_at": "in_the_future"}}, valid_until=NOW + timedelta(days=9))
    _, before = await imports.request()
    await end_import(pool, "failed")
    await pool.execute("UPDATE stored_ranges SET valid_until = now() WHERE upto_id = 20")

    _, after = await imports.request()

    assert before.stored_fingerprints == list(FULL.values())
    assert after.stored_fingerprints == ["10:1", None, "10:3"]


async def test_a_value_in_the_future_without_an_end_leaves_its_range_without_a_fingerprint(
    imports: Imports,
) -> None:
    await imports.run(unusable={15: {"last_auth_at": "in_the_future"}, 25: {"email": "not_an_address"}})

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_row_that_the_database_refused_leaves_its_range_without_a_fingerprint(imports: Imports) -> None:
    await imports.run(unusable={15: {"email": "refused_22021"}})

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_range_that_two_attempts_have_read_is_left_without_a_fingerprint(imports: Imports) -> None:
    await imports.run(losing_attempt_reads=[11])

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_range_of_which_a_row_was_read_later_is_left_without_a_fingerprint(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    import_id, _ = await imports.request("full")
    await imports.plan(import_id)
    await imports.read(import_id)
    await pool.execute("UPDATE legacy_customers SET number = number + 100 WHERE legacy_id = 15")
    await imports.end(import_id)

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_range_whose_rows_had_no_fingerprint_is_void(imports: Imports) -> None:
    await imports.run(fingerprints=FULL | {20: None})

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_fingerprints_that_are_valid_for_something_else_than_the_plan_are_not_stored(imports: Imports) -> None:
    await imports.run(basis=BASIS | {"table_id": "8"})

    assert await imports.stored() == dict.fromkeys(BOUNDS)


async def test_ranges_that_an_importer_without_fingerprints_planned_are_not_stored(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    import_id, _ = await imports.request("full")
    await imports.plan(import_id, basis=None)
    await imports.read(import_id)
    await imports.end(import_id)

    assert await imports.stored() == {}


async def test_after_an_import_of_the_previous_release_nothing_counts_as_stored(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    await pool.execute(
        "INSERT INTO imports (id, status, planned_rows, finished_at) VALUES (gen_random_uuid(), 'completed', 30, now())"
    )

    _, task = await imports.request()

    assert task.stored_bounds is None


async def test_a_restored_customer_voids_the_range_of_its_row(imports: Imports, pool: asyncpg.Pool) -> None:
    await imports.run()
    customer = await customer_of(pool, 20)
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, customer)
        deleted = await imports.stored()
        await restorations.restore(connection, customer)

    assert deleted == FULL
    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_range_that_a_restoration_voids_after_the_request_is_read(imports: Imports, pool: asyncpg.Pool) -> None:
    await imports.run()
    customer = await customer_of(pool, 15)
    import_id, task = await imports.request()
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, customer)
        await restorations.restore(connection, customer)
    await imports.plan(import_id, [0, 1, 2])

    assert task.stored_fingerprints == list(FULL.values())
    assert [row[0] for row in await pool.fetch("SELECT chunk FROM import_chunks WHERE import_id = $1", import_id)] == [
        1
    ]


async def test_a_customer_who_is_restored_after_its_row_was_skipped_leaves_the_range_void(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    customer = await customer_of(pool, 15)
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, customer)
        import_id, _ = await imports.request("full")
        await imports.plan(import_id)
        await imports.read(import_id)
        await restorations.restore(connection, customer)
    await imports.end(import_id)

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_skipped_row_of_a_deleted_customer_keeps_the_fingerprint_of_its_range(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, await customer_of(pool, 15))

    await imports.run()

    assert await imports.stored() == FULL


async def test_an_import_of_changes_finds_gone_only_what_it_has_looked_at(imports: Imports, pool: asyncpg.Pool) -> None:
    await imports.run()
    import_id, _ = await imports.request()
    await imports.plan(import_id, [1, 2], row_count=29)
    await imports.read(import_id, {10: "9:1"}, missing=[5])

    job = await imports.end(import_id)

    assert (job["status"], job["gone"]) == ("completed", 1)
    gone = await pool.fetch("SELECT legacy_id FROM legacy_customers WHERE gone_at IS NOT NULL")
    assert [row[0] for row in gone] == [5]


@pytest.mark.parametrize(
    "changed", [{"unread": [3]}, {"unread": [0], "upper_bounds": [], "row_count": 0}, {"row_count": 0, "unread": [0]}]
)
async def test_a_plan_that_leaves_out_ranges_that_it_does_not_have_is_ignored(
    imports: Imports, changed: dict[str, Any]
) -> None:
    await imports.run()
    import_id, _ = await imports.request()

    assert await imports.plan(import_id, **changed) == "senseless"


async def test_a_request_for_single_rows_voids_their_ranges_whatever_it_finds(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    """Otherwise a row that it changes could become again what the fingerprint describes, and would not be read."""
    await imports.run()
    import_id = await imports.start_row(15)
    at_once = await imports.stored()
    job = await imports.read_row(import_id, 15)
    _, task = await imports.request()

    assert at_once == {10: "10:1", 20: None, 30: "10:3"}
    assert (job["status"], job["unchanged"], job["kind"]) == ("completed", 1, "rows")
    assert task.stored_fingerprints == ["10:1", None, "10:3"]


async def test_a_range_that_a_request_for_single_rows_voids_after_the_plan_was_requested_is_read(
    imports: Imports, pool: asyncpg.Pool
) -> None:
    await imports.run()
    import_id, task = await imports.request()
    await imports.start_row(15)
    await imports.plan(import_id, [0, 1, 2])

    assert task.stored_fingerprints == list(FULL.values())
    assert await pool.fetch("SELECT chunk FROM import_chunks WHERE import_id = $1", import_id) == [(1,)]


async def test_a_range_is_void_if_an_import_of_single_rows_may_still_change_it(imports: Imports) -> None:
    """It is handed out after the range, and ends after the range's import."""
    import_id, _ = await imports.request("full")
    await imports.plan(import_id)
    await imports.read(import_id)
    unfinished = await imports.start_row(15)
    await imports.end(import_id)
    void = await imports.stored()
    await imports.read_row(unfinished, 15)
    await imports.run()

    assert void == {10: "10:1", 20: None, 30: "10:3"}
    assert await imports.stored() == FULL


async def test_a_range_is_void_if_single_rows_of_it_were_read_later(imports: Imports) -> None:
    import_id, _ = await imports.request("full")
    await imports.plan(import_id)
    await imports.read_row(await imports.start_row(15), 15)
    await imports.read(import_id)
    await imports.end(import_id)

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_a_range_is_void_if_single_rows_of_it_were_handed_out_before_and_read_meanwhile(imports: Imports) -> None:
    earlier = await imports.start_row(15)
    import_id, _ = await imports.request("full")
    await imports.plan(import_id)
    await imports.read_row(earlier, 15)
    await imports.read(import_id)
    await imports.end(import_id)

    assert await imports.stored() == {10: "10:1", 20: None, 30: "10:3"}


async def test_the_latest_imports_of_single_rows_keep_their_lists(imports: Imports, pool: asyncpg.Pool) -> None:
    for row in (5, 15, 25):
        await imports.read_row(await imports.start_row(row), row)
    async with pool.acquire() as connection:
        await old_details.delete(connection, 2)

    kept = [tuple(row) for row in await pool.fetch("SELECT legacy_id FROM import_rows ORDER BY 1")]
    assert (kept, await pool.fetchval("SELECT count(*) FROM import_outcomes")) == ([(15,), (25,)], 2)
