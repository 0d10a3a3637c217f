"""Imports of kind `rows`: what becomes of each row, and how they run beside another import."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from customers_api.customers import writes as customer_writes
from customers_api.imports import progress, row_imports, writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from gone_marks import customer_of, marks, without
from legacy_events import Attempt, cancel, people_of, start_import
from prometheus_client import REGISTRY
from table_imports import ALL, BOUNDS, TableImports, phone
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import Failed, RowsRequested
from vapteke_shared.contract.limits import ROWS_PER_IMPORT
from vapteke_shared.process.health import Health

IMPORTS, CUSTOMERS = "/rest/v1/imports/", "/rest/v1/customers/"
CLASSES = ("status", "read", "created", "updated", "unchanged", "skipped", "rejected")


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    assert (await imports.run(ALL))["status"] == "completed"
    return imports


@pytest.fixture
def sweeper(pool: asyncpg.Pool) -> Sweeper:
    return Sweeper(pool, Health(), stalled_seconds=900)


async def sweep(pool: asyncpg.Pool, sweeper: Sweeper) -> dict[UUID, str]:
    """The states of all imports after the sweeper has looked once."""
    async with pool.acquire() as connection:
        await sweeper.sweep(connection)
    return dict(await pool.fetch("SELECT id, status FROM imports"))


async def outcomes(client: httpx.AsyncClient, import_id: object) -> dict[int, str | None]:
    """By legacy id."""
    page = (await client.get(f"{IMPORTS}{import_id}/rows/", params={"limit": 1000})).json()
    return {each["legacy_id"]: each["outcome"] for each in page["items"]}


async def lastname(pool: asyncpg.Pool, legacy_id: int) -> object:
    return (await people_of(pool))[legacy_id][2]


async def tasks(pool: asyncpg.Pool) -> list[Event]:
    """The tasks for single rows that were sent, in their order."""
    rows = await pool.fetch("SELECT value, headers FROM outbox WHERE topic = $1 ORDER BY id", topics.IMPORT_TASKS.name)
    decoded = [
        codec.decode(value, [(name, str(text).encode()) for name, text in msgspec.json.decode(headers).items()])
        for value, headers in rows
    ]
    return [event for event in decoded if isinstance(event, RowsRequested)]


# What becomes of each row


async def test_each_row_has_its_outcome(client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports) -> None:
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, await customer_of(pool, 5))
    job = (await client.post(IMPORTS, json={"kind": "rows", "legacy_ids": [7, 1, 2, 3, 4, 5, 101, 999, 1]})).json()
    waiting = await outcomes(client, job["id"])
    await imports.read(UUID(job["id"]), [1, 2, 3, 5, 7, 101], rejected=[3], changed=[1], phones={7: phone(8)})
    ended = await imports.end(UUID(job["id"]))

    page = (await client.get(f"{IMPORTS}{job['id']}/rows/")).json()
    some = (
        await client.get(f"{IMPORTS}{job['id']}/rows/", params={"outcome": ["absent", "rejected"], "limit": 2})
    ).json()
    customers = {row: await customer_of(pool, row) for row in (1, 2, 3, 4, 5, 7, 8, 101)}
    nothing: dict[str, Any] = {"fields": [], "reasons": {}, "phone_held_by": None}
    held = {"customer_id": customers[8], "legacy_id": 8}
    assert (job["kind"], job["status"], job["requested_by"]) == ("rows", "running", "tester")
    assert set(waiting.values()) == {None}
    assert [ended[name] for name in CLASSES] == ["completed", 6, 1, 2, 1, 1, 1]
    assert page["count"] == 8
    assert page["items"] == [
        nothing | {"position": position, "legacy_id": row, "customer_id": customers.get(row), "outcome": outcome} | more
        for position, row, outcome, more in [
            (0, 7, "updated", {"fields": ["phone"], "phone_held_by": held}),
            (1, 1, "updated", {"fields": ["lastname"]}),
            (2, 2, "unchanged", {}),
            (3, 3, "rejected", {"reasons": {"phone": "missing"}}),
            (4, 4, "absent", {}),
            (5, 5, "skipped", {}),
            (6, 101, "created", {}),
            (7, 999, "absent", {}),
        ]
    ]
    assert ([each["legacy_id"] for each in some["items"]], some["count"]) == ([3, 4], 3)
    assert await marks(pool) == {}


async def test_rows_are_named_by_customers_and_phones(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(ALL, phones={7: phone(8)})
    mine = (await client.post(CUSTOMERS, json={"phone": "+7 999 000-11-22"})).json()["id"]
    third = await customer_of(pool, 3)
    bodies = [
        {"customer_ids": [third, mine, third, 10**9]},
        {"phones": ["8 (902) 516-00-08", "+7 999 000 11 22", "79990001123", "79025160008", phone(3)]},
    ]

    found = []
    for body in bodies:
        job = (await client.post(IMPORTS, json={"kind": "rows", **body})).json()
        await imports.read(UUID(job["id"]), ALL)
        ended = await imports.end(UUID(job["id"]))
        items = (await client.get(f"{IMPORTS}{job['id']}/rows/")).json()["items"]
        assert ended["status"] == "completed"
        found.append(
            [tuple(each[name] for name in ("position", "legacy_id", "customer_id", "outcome")) for each in items]
        )

    assert found[0] == [
        (0, 3, third, "unchanged"),
        (1, None, mine, "unknown"),
        (3, None, 10**9, "unknown"),
    ]
    assert found[1] == [
        (0, 7, await customer_of(pool, 7), "updated"),
        (0, 8, await customer_of(pool, 8), "unchanged"),
        (1, None, mine, "unknown"),
        (2, None, None, "unknown"),
        (4, 3, third, "unchanged"),
    ]


async def test_rows_that_an_import_rejected_are_read_again(client: httpx.AsyncClient, imports: TableImports) -> None:
    rejecting = await imports.run(ALL, rejected=range(1, 8))
    body = {"kind": "rows", "rejected_in": str(rejecting["id"])}

    every = (await client.post(IMPORTS, json=body)).json()["id"]
    of_phone = (await client.post(IMPORTS, json=body | {"field": "phone", "reason": "missing"})).json()["id"]
    none = await client.post(IMPORTS, json=body | {"field": "email"})

    for import_id in (every, of_phone):
        await imports.read(UUID(import_id), ALL)
        await imports.end(UUID(import_id))
        assert await outcomes(client, import_id) == dict.fromkeys(range(1, 8), "unchanged")
    assert (none.status_code, none.json()["code"]) == (409, "no_rows")


async def test_an_unknown_import_and_too_many_rejections_are_refused(
    client: httpx.AsyncClient, pool: asyncpg.Pool, running: UUID
) -> None:
    await pool.execute(
        "INSERT INTO import_rejections (import_id, legacy_id, kind, field, reason)"
        " SELECT $1, each, 'row', 'phone', 'missing' FROM generate_series(1, $2) AS each",
        running,
        ROWS_PER_IMPORT + 1,
    )

    unknown = await client.post(IMPORTS, json={"kind": "rows", "rejected_in": str(uuid4())})
    many = await client.post(IMPORTS, json={"kind": "rows", "rejected_in": str(running)})

    assert (unknown.status_code, unknown.json()["code"]) == (404, "import_not_found")
    assert (many.status_code, many.json()["code"], many.json()["count"]) == (409, "too_many_rows", 10_001)
    assert (await client.get(f"{IMPORTS}{uuid4()}/rows/")).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/body"),
        ({"legacy_ids": [1], "customer_ids": [1]}, "/body"),
        ({"legacy_ids": []}, "/body/legacy_ids"),
        ({"legacy_ids": list(range(101))}, "/body/legacy_ids"),
        ({"legacy_ids": [2**63]}, "/body/legacy_ids/0"),
        ({"phones": ["12"]}, "/body/phones/0"),
        ({"customer_ids": [1], "field": "email"}, "/body/field"),
        ({"rejected_in": "7"}, "/body/rejected_in"),
    ],
)
async def test_rows_that_are_not_named_clearly_start_nothing(
    client: httpx.AsyncClient, pool: asyncpg.Pool, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(IMPORTS, json={"kind": "rows", **body})

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await pool.fetchval("SELECT count(*) FROM imports") == 0


async def test_no_known_row_completes_at_once(client: httpx.AsyncClient, pool: asyncpg.Pool, sweeper: Sweeper) -> None:
    job = (await client.post(IMPORTS, json={"kind": "rows", "phones": [phone(1)]})).json()

    assert await sweep(pool, sweeper) == {UUID(job["id"]): "completed"}
    assert await tasks(pool) == []


async def test_many_rows_are_read_by_tasks_of_a_hundred(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    import_id = await imports.start_rows(*range(250, 0, -1))
    first = await tasks(pool)
    await imports.read(import_id, ALL)
    rest = (await tasks(pool))[1:]
    await imports.read(import_id, ALL)
    ended = await imports.end(import_id)

    assert [task.legacy_ids for task in first] == [list(range(1, 101))]
    assert [(task.chunk, task.legacy_ids) for task in rest] == [
        (1, list(range(101, 201))),
        (2, list(range(201, 251))),
    ]
    assert [ended[name] for name in CLASSES] == ["completed", 100, 0, 0, 100, 0, 0]
    assert await outcomes(client, import_id) == {row: "unchanged" if row <= 100 else "absent" for row in range(1, 251)}


async def test_an_event_of_a_row_that_was_not_asked_for_changes_nothing(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    import_id = await imports.start_rows(1, 9)
    number = await pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1", import_id)
    before = REGISTRY.get_sample_value("vapteke_ignored_events_total", {"reason": "outside_of_the_range"}) or 0

    await imports.apply(Attempt(import_id, number=number).read(5, phone(5), lastname="Никто"))

    after = REGISTRY.get_sample_value("vapteke_ignored_events_total", {"reason": "outside_of_the_range"}) or 0
    assert (after - before, await lastname(pool, 5)) == (1, "Первая")


async def test_rows_whose_events_were_ignored_are_not_called_absent(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    import_id = await imports.start_rows(1, 2, 999)
    attempt = Attempt(import_id, number=await pool.fetchval("SELECT max(number) FROM import_chunks"))
    await imports.apply(attempt.read(1, phone(1), lastname="Первая"))
    async with pool.acquire() as connection:
        await progress.range_published(connection, attempt.published(2, {0: imports.last_offset}), 8)

    assert (await imports.end(import_id))["status"] == "failed"
    assert await outcomes(client, import_id) == {1: "unchanged", 2: None, 999: None}


async def test_a_row_that_was_gone_returns(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(without(7, 8))
    import_id = await imports.start_rows(7, 8)

    await imports.read(import_id, [7])

    assert ((await imports.end(import_id))["gone"], await marks(pool)) == (0, {8: "reported"})


# Beside another import


async def test_the_later_of_two_tasks_wins_in_either_order(pool: asyncpg.Pool, imports: TableImports) -> None:
    full = await start_import(pool, BOUNDS)
    later = await imports.start_rows(1, 2)
    await imports.read(later, [1, 2], changed=[1])
    await imports.read(full, ALL, changed=[2])  # what it has read before the single rows
    jobs = [await imports.end(later), await imports.end(full)]
    earlier = await imports.start_rows(1, 2)
    full = await start_import(pool, BOUNDS)
    await imports.read(full, ALL, changed=[1, 2])
    await imports.read(earlier, [1, 2])
    jobs += [await imports.end(earlier), await imports.end(full)]

    assert [[job[name] for name in CLASSES] for job in jobs] == [
        ["completed", 2, 0, 1, 1, 0, 0],
        ["completed", 100, 0, 0, 100, 0, 0],
        ["completed", 2, 0, 0, 2, 0, 0],
        ["completed", 100, 0, 1, 99, 0, 0],
    ]
    assert [await lastname(pool, row) for row in (1, 2)] == ["Другая", "Другая"]


async def test_both_verdicts_are_exact_when_their_events_come_in_one_batch(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    full = await start_import(pool, (100,))
    rows = await imports.start_rows(*range(1, 11))
    numbers = dict(await pool.fetch("SELECT import_id, number FROM import_chunks WHERE status = 'requested'"))
    whole, single = (Attempt(import_id, number=numbers[import_id]) for import_id in (full, rows))
    mixed = [each.read(row, phone(row), lastname="Другая") for row in range(1, 11) for each in (whole, single)]

    await imports.apply(*mixed)

    async with pool.acquire() as connection:
        for attempt in (whole, single):
            await progress.range_published(connection, attempt.published(10, {0: imports.last_offset}), 8)
    jobs = [await imports.end(rows), await imports.end(full)]
    assert [[job[name] for name in CLASSES] for job in jobs] == [
        ["completed", 10, 0, 0, 10, 0, 0],
        ["completed", 10, 0, 10, 0, 0, 0],
    ]


async def test_what_an_earlier_task_misses_is_not_gone(pool: asyncpg.Pool, imports: TableImports) -> None:
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, await customer_of(pool, 9))
    full = await start_import(pool, BOUNDS)
    rows = await imports.start_rows(7, 8, 9)
    await imports.read(rows, ALL, rejected=[8])  # unchanged, rejected and skipped
    await imports.end(rows)

    await imports.read(full, without(7, 8, 9, 10))

    assert ((await imports.end(full))["gone"], await marks(pool)) == (1, {10: "reported"})


async def test_a_row_that_it_finds_after_a_later_task_has_missed_it_is_not_gone(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    """The rows come back to vAptekeSync, or are new in it, between the two tasks."""
    rows = await imports.start_rows(70, 101)
    full = await start_import(pool, BOUNDS)
    await imports.read(full, without(70, 71))

    await imports.read(rows, [70, 101])

    assert (await imports.end(full))["gone"] == 1
    assert await marks(pool) == {71: "reported"}


async def test_its_details_are_kept_until_the_import_beside_it_has_ended(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    sweeper = Sweeper(pool, Health(), stalled_seconds=900, kept=0)
    full, rows = await start_import(pool, BOUNDS), await imports.start_rows(1)
    await imports.read(rows, ALL)

    assert (await sweep(pool, sweeper))[rows] == "completed"
    assert await outcomes(client, rows) == {1: "unchanged"}

    await imports.read(full, ALL)
    assert (await sweep(pool, sweeper))[full] == "completed"
    assert await outcomes(client, rows) == {}


async def test_none_starts_while_rows_are_marked_as_gone(pool: asyncpg.Pool, imports: TableImports) -> None:
    """Otherwise it could find a row again that is just being marked, and the mark would stay."""
    full = await start_import(pool, BOUNDS)
    await imports.read(full, without(7))
    async with pool.acquire() as connection, asyncio.TaskGroup() as group, connection.transaction():
        await connection.execute("SELECT FROM legacy_customers WHERE legacy_id = 7 FOR UPDATE")
        ending = group.create_task(imports.end(full))
        await lock_waits(pool, 1)
        starting = group.create_task(imports.start_rows(7))
        await lock_waits(pool, 2)
    await imports.read(starting.result(), ALL)

    assert (ending.result()["gone"], await marks(pool)) == (1, {})


async def lock_waits(pool: asyncpg.Pool, count: int) -> None:
    """Return when so many sessions of this database wait for a lock."""
    async with asyncio.timeout(10):
        while await pool.fetchval(_LOCK_WAITS) != count:
            await asyncio.sleep(0.01)


_LOCK_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_two_attempts_of_each_import_count_the_rows_in_the_classes_that_they_had_first(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    """Each attempt of one import is followed by one of the other, which changes the same rows."""
    full = await start_import(pool, (200,))
    await imports.read(full, [*ALL, 101], changed=[1], published=False)
    rows = await imports.start_rows(1, 2, 3, 101, 102)
    await imports.read(rows, [1, 2, 3, 101, 102], changed=[2, 101], rejected=[3], published=False)
    await imports.read(full, [*ALL, 101], changed=[1])
    await imports.read(rows, [1, 2, 3, 101, 102], changed=[2, 101], rejected=[3])

    jobs = [await imports.end(rows), await imports.end(full)]
    assert [[job[name] for name in CLASSES] for job in jobs] == [
        ["completed", 5, 1, 3, 0, 0, 1],
        ["completed", 101, 1, 1, 99, 0, 0],
    ]
    assert await outcomes(client, rows) == {
        1: "updated",
        2: "updated",
        3: "rejected",
        101: "updated",
        102: "created",
    }
    again = await start_import(pool, (200,))
    early = await imports.start_rows(2)
    await imports.read(early, [2], published=False)
    await pool.execute("UPDATE import_chunks SET number = nextval('hand_out_numbers') WHERE import_id = $1", again)
    await imports.read(again, [*ALL, 101, 102], changed=[2], published=False)
    await imports.read(early, [2])
    await imports.read(again, [*ALL, 101, 102], changed=[2])
    jobs = [await imports.end(early), await imports.end(again)]
    assert [(job["updated"], job["unchanged"]) for job in jobs] == [(1, 0), (2, 100)]


async def test_a_comparison_beside_it_lists_no_row_that_it_has_updated(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    compare = await start_import(pool, BOUNDS, kind="compare")
    rows = await imports.start_rows(1, 2)
    await imports.read(rows, [1, 2], changed=[1, 2])

    await imports.read(compare, ALL, changed=[1])

    assert [(await imports.end(each))["updated"] for each in (compare, rows)] == [0, 2]
    assert await pool.fetch("SELECT * FROM import_differences") == []


async def test_a_comparison_with_a_later_task_lists_no_row_that_it_updates_afterwards(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    rows = await imports.start_rows(1, 101)
    compare = await start_import(pool, BOUNDS, kind="compare")
    await imports.read(compare, [*ALL, 101], changed=[1, 2])

    await imports.read(rows, [1, 101], changed=[1])

    await imports.end(compare)
    assert await pool.fetch("SELECT legacy_id FROM import_differences") == [(2,)]


async def test_a_comparison_that_is_handed_out_later_keeps_no_row_from_being_applied(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    rows = await imports.start_rows(1)
    compare = await start_import(pool, BOUNDS, kind="compare")
    await imports.read(compare, ALL)

    await imports.read(rows, [1], changed=[1])

    assert [(await imports.end(each))["status"] for each in (rows, compare)] == ["completed", "completed"]
    assert await lastname(pool, 1) == "Другая"


async def test_several_run_at_once_and_beside_any_other_import(
    client: httpx.AsyncClient, pool: asyncpg.Pool, sweeper: Sweeper, imports: TableImports
) -> None:
    full = (await client.post(IMPORTS)).json()["id"]
    first, second = await imports.start_rows(1, 2), await imports.start_rows(2, 3)
    joined = (await client.post(IMPORTS)).json()["id"]

    await imports.read(second, ALL, changed=[2])
    await imports.read(first, ALL)
    states = await sweep(pool, sweeper)

    assert joined == full
    assert (states[first], states[second], states[UUID(full)]) == ("completed", "completed", "requested")
    assert await lastname(pool, 2) == "Другая"
    announced = await pool.fetch("SELECT DISTINCT key FROM outbox WHERE topic = $1", topics.IMPORT_STATE.name)
    assert {str(first), str(second)}.isdisjoint(row["key"] for row in announced)


async def test_no_other_import_waits_for_it(pool: asyncpg.Pool, sweeper: Sweeper, imports: TableImports) -> None:
    full = await start_import(pool, BOUNDS)
    async with pool.acquire() as connection:
        waiting, _ = await writes.start(connection, 10, kind="compare")
    rows = await imports.start_rows(1)
    await imports.read(full, ALL)

    states = await sweep(pool, sweeper)

    assert (states[full], states[waiting["id"]], states[rows]) == ("completed", "requested", "reading")


# The end


async def test_it_is_cancelled_before_its_next_task(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    import_id = await imports.start_rows(*range(1, 151))
    await cancel(pool, import_id)
    await imports.read(import_id, ALL)
    ended = await imports.end(import_id)

    assert ([ended[name] for name in CLASSES], len(await tasks(pool))) == (["cancelled", 100, 0, 0, 100, 0, 0], 1)
    assert (await outcomes(client, import_id))[150] is None


async def test_a_task_that_fails_fails_its_import_alone(
    client: httpx.AsyncClient, pool: asyncpg.Pool, sweeper: Sweeper, imports: TableImports
) -> None:
    full, rows = await start_import(pool, BOUNDS), await imports.start_rows(*range(1, 151))
    async with pool.acquire() as connection, connection.transaction():
        await progress.failed(connection, Failed(import_id=rows, chunk=0, error="no answer"))

    states = await sweep(pool, sweeper)

    assert (states[rows], states[full]) == ("failed", "running")
    job = (await client.get(f"{IMPORTS}{rows}/")).json()
    assert (job["error"], len(await tasks(pool)), set((await outcomes(client, rows)).values())) == (
        "no answer",
        1,
        {None},
    )


@pytest.mark.parametrize("silent", ["rows", "full"])
async def test_an_import_that_stalls_does_not_fail_the_other(
    pool: asyncpg.Pool, imports: TableImports, silent: str
) -> None:
    sweeper = Sweeper(pool, Health(), stalled_seconds=1.5)
    both = {"full": await start_import(pool, (50, 100), in_flight=1), "rows": await imports.start_rows(*range(1, 151))}
    await sweep(pool, sweeper)
    sweeper.grow_idle(1)
    [active] = both.keys() - {silent}
    await imports.read(both[active], ALL)
    await sweep(pool, sweeper)
    sweeper.grow_idle(1)

    states = await sweep(pool, sweeper)

    assert states[both[silent]] == "failed"
    assert states[both[active]] in ("running", "reading")


async def test_all_unfinished_imports_fail_when_kafka_is_replaced(pool: asyncpg.Pool, imports: TableImports) -> None:
    full, rows = await start_import(pool, BOUNDS), await imports.start_rows(1, 2)
    await imports.read(rows, [1, 2])

    async with pool.acquire() as connection, connection.transaction():
        failed = await writes.fail_unfinished(connection, "Kafka was replaced")

    assert {(job["id"], job["read"]) for job in failed} == {(full, 0), (rows, 2)}
    assert await pool.fetchval("SELECT count(*) FROM imports WHERE status <> 'failed' AND error IS NULL") == 1


async def test_it_is_no_import_of_the_whole_table(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    """The schedule, the warning about fewer rows, and the list of imports tell them apart."""
    before = (await client.get(f"{IMPORTS}schedule/")).json()["last_completed_at"]
    import_id = await imports.start_rows(1, 2)
    await imports.read(import_id, ALL)
    await imports.end(import_id)
    full = await start_import(pool, (100,), row_count=100)

    assert (await client.get(f"{IMPORTS}schedule/")).json()["last_completed_at"] == before
    assert await pool.fetchval("SELECT warnings FROM imports WHERE id = $1", full) == []
    listed = (await client.get(IMPORTS, params={"kind": "rows"})).json()
    assert [job["id"] for job in listed["items"]] == [str(import_id)]


async def test_many_named_rows_are_refused(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(row_imports.TooManyRows):
            await row_imports.start(connection, row_imports.by_legacy_ids(range(ROWS_PER_IMPORT + 1)), None)
