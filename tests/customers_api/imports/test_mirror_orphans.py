"""Mirror rows whose customer or phone was removed by hand are counted, and the steps of docs/operate.md mend them."""

import re
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.mirror_orphans import OrphanCount, show
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, counts, end_import, people_of, records, start_import
from prometheus_client import REGISTRY
from vapteke_shared.process.health import Health

OPERATE = Path(__file__).parents[3] / "docs" / "operate.md"
WITHOUT_CUSTOMER, WITHOUT_PHONE, WHOLE = 1, 2, 3


@pytest.fixture(autouse=True)
def nothing_shown() -> None:
    show(0, 0)


def shown() -> dict[str, float | None]:
    return {
        missing: REGISTRY.get_sample_value("vapteke_mirror_orphans", {"missing": missing})
        for missing in ("customer", "phone")
    }


async def imported(consumers: ImportConsumers, import_id: UUID, first_offset: int = 0) -> None:
    attempt = Attempt(import_id)
    events = [
        attempt.read(legacy_id, f"7902516311{legacy_id}") for legacy_id in (WITHOUT_CUSTOMER, WITHOUT_PHONE, WHOLE)
    ]
    await consumers.apply_legacy(records(events, first_offset), CLUSTER, {})


async def remove_by_hand(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "DELETE FROM customers USING legacy_customers m WHERE m.customer_id = customers.id AND legacy_id = $1",
        WITHOUT_CUSTOMER,
    )
    await pool.execute(
        "UPDATE customers c SET phone_id = NULL, phone_from = NULL FROM legacy_customers m"
        " WHERE m.customer_id = c.id AND legacy_id = $1",
        WITHOUT_PHONE,
    )
    await pool.execute(
        "DELETE FROM phones p USING legacy_customers m WHERE m.phone_id = p.id AND legacy_id = $1", WITHOUT_PHONE
    )


async def counted(pool: asyncpg.Pool, orphans: OrphanCount) -> None:
    async with pool.acquire() as connection:
        for _ in range(3):
            await orphans.advance(connection)


async def test_rows_without_customer_and_without_phone_are_counted_and_logged_without_ids(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    await imported(consumers, running)
    await remove_by_hand(pool)

    await counted(pool, OrphanCount())

    assert shown() == {"customer": 1, "phone": 1}
    assert "mirror rows without their customer or phone" in capsys.readouterr().out


async def test_a_whole_mirror_has_no_orphans_and_logs_nothing(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    await imported(consumers, running)
    show(7, 7)

    await counted(pool, OrphanCount())

    assert shown() == {"customer": 0, "phone": 0}
    assert "mirror" not in capsys.readouterr().out


async def test_orphans_are_counted_again_after_an_import_and_not_before(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    sweeper = Sweeper(pool, Health(), stalled_seconds=900)
    await imported(consumers, running)
    await end_import(pool)

    seen = []
    async with pool.acquire() as connection:
        for step in ("first count", "removed", "import"):
            if step == "removed":
                await remove_by_hand(pool)
            if step == "import":
                await start_import(pool)
                await sweeper.sweep(connection)
                await end_import(pool)
            for _ in range(3):
                await sweeper.sweep(connection)
            seen.append(shown())

    assert seen == [{"customer": 0, "phone": 0}, {"customer": 0, "phone": 0}, {"customer": 1, "phone": 1}]


async def test_until_then_an_import_rejects_rows_without_customer_and_gives_phones_back(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await imported(consumers, running)
    await remove_by_hand(pool)
    await end_import(pool)
    await pool.execute("DELETE FROM import_counts")

    await imported(consumers, await start_import(pool), first_offset=3)

    assert await counts(pool) == {"rejected": 1, "updated": 1, "unchanged": 1}
    assert await pool.fetchval("SELECT reason FROM import_rejections") == "refused_23503"
    assert (await people_of(pool))[WITHOUT_PHONE][0] == f"7902516311{WITHOUT_PHONE}"


async def test_the_statements_for_operators_and_an_import_mend_orphans(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await imported(consumers, running)
    before = await people_of(pool)
    await remove_by_hand(pool)
    await end_import(pool)

    [statements] = re.findall(r"```sql\n(.*?)```", OPERATE.read_text(), re.DOTALL)
    await pool.execute(statements)
    await pool.execute("DELETE FROM import_counts")
    await imported(consumers, await start_import(pool), first_offset=3)
    await counted(pool, OrphanCount())

    assert await counts(pool) == {"created": 1, "updated": 1, "unchanged": 1}
    assert {key: person[0] for key, person in (await people_of(pool)).items()} == {
        key: person[0] for key, person in before.items()
    }
    assert shown() == {"customer": 0, "phone": 0}
