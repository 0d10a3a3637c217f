"""The number of all favorites, from a counter that triggers maintain; hidden favorites do not count."""

import asyncio
import random
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
from favorites_api import deleted_customers, favorites
from favorites_api.deleted_customers import CustomerState
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.messaging.partitions import Cluster

TRUE = (
    "SELECT count(*) FROM favorites"
    " WHERE user_id NOT IN (SELECT customer_id FROM deleted_customers WHERE deleted_at IS NOT NULL)"
)


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int


async def counted_and_true(pool: asyncpg.Pool) -> tuple[int | None, int]:
    """What a list says, and what the table held at the same moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        page = await favorites.page(connection, {}, 1)
        return page.count, await connection.fetchval(TRUE)


async def test_nobody_ever_sees_a_wrong_count(pool: asyncpg.Pool) -> None:
    done = asyncio.Event()

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        for turn in range(60):
            user, items = dice.randrange(1, 6), dice.sample(range(1, 30), turn % 4)
            async with pool.acquire() as connection:
                await favorites.add(connection, 10 + user, items)
                await connection.executemany(CONFLICTING, [(user, item) for item in items])
                await favorites.delete(connection, dice.sample(range(1, 1_000), 30))

    async def fold() -> None:
        while not done.is_set():
            async with pool.acquire() as connection:
                await favorites.fold_counts(connection)

    async def delete_and_restore() -> None:
        version = 0
        while not done.is_set():
            version += 1
            deleted_at = datetime.now(UTC) if version % 2 else None
            async with pool.acquire() as connection:
                states = [CustomerState(user, version, deleted_at, ["deleted_at"]) for user in (1, 2, 404)]
                batch = [(Record("customers", state.id, version - 1), state) for state in states]
                await deleted_customers.apply(connection, batch, Cluster("a-cluster", {}), {})

    async def read() -> int:
        looked = 0
        while not done.is_set():
            counted, true = await counted_and_true(pool)
            assert counted == true
            looked += 1
        return looked

    others = [asyncio.create_task(each) for each in (fold(), fold(), delete_and_restore(), read(), read())]
    await asyncio.gather(*(write(seed) for seed in range(4)))
    done.set()
    *_, first, second = await asyncio.gather(*others)

    assert min(first, second) > 20
    counted, true = await counted_and_true(pool)
    assert counted == true > 50
    assert await pool.fetchval("SELECT count(*) FROM favorite_counts") < 200


CONFLICTING = "INSERT INTO favorites (user_id, item_id) VALUES ($1, $2) ON CONFLICT (user_id, item_id) DO NOTHING"


async def test_the_owner_may_empty_the_table(pool: asyncpg.Pool, postgres_server: Postgres, database_name: str) -> None:
    owner = await asyncpg.connect(postgres_server.dsn_of(database_name, "favorites_owner", "owner"))
    counts = []

    for statement in (
        "INSERT INTO favorites.favorites (user_id, item_id) SELECT n, n FROM generate_series(1, 9) AS n",
        "BEGIN; DELETE FROM favorites.favorites; ROLLBACK",
        "DELETE FROM favorites.favorites WHERE user_id = 4",
        "TRUNCATE favorites.favorites",
        "INSERT INTO favorites.favorites (user_id, item_id) VALUES (1, 1)",
    ):
        await owner.execute(statement)
        counts.append(await counted_and_true(pool))
    await owner.close()

    assert counts == [(9, 9), (9, 9), (8, 8), (0, 0), (1, 1)]
