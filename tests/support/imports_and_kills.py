"""Runs imports, changes legacy rows and kills relays while clients write to a stack."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import customers_topic
import httpx
from rest_writers import NAMES, Writers, skewed
from running_stack import RunningStack
from vapteke_local.vaptekesync import Server

RELAY = "customers-api work 1"
Step = Callable[[], Awaitable[None]]


class Signs(NamedTuple):
    """What shows that a relay is at work."""

    sent: dict[Any, int]
    oldest_left: int | None


class Disturbances:
    """Two imports, the legacy rows changed before each, and strikes: kills of two relays, one after the other."""

    def __init__(
        self, stack: RunningStack, legacy: Server, writers: Writers, phones: Sequence[str], movable: Sequence[int]
    ) -> None:
        self._stack, self._legacy, self._writers = stack, legacy, writers
        self._phones, self._movable = phones, movable
        self.imports: list[tuple[int, dict[str, Any]]] = []
        """Rows that there were, and the job in the end."""
        self.kills = 0

    async def happen(self, dice: random.Random, writes: int, strikes: int) -> None:
        """Run each step once this share of the writes is done; the first strikes hit the imports."""
        steps: list[tuple[float, Step]] = [
            (0.1, lambda: self._import(dice, struck=True)),
            (0.4, lambda: self._import(dice, struck=strikes > 1)),
            *((dice.uniform(0.02, 0.75), lambda: self._strike(dice)) for _ in range(strikes - 2)),
        ]
        for moment, step in sorted(steps, key=lambda each: each[0]):
            while self._writers.written < moment * writes:
                await asyncio.sleep(0.01)
            await step()

    async def _import(self, dice: random.Random, struck: bool) -> None:
        self._change_legacy_rows(dice)
        url = await self._stack.start_import()
        async with asyncio.timeout(60):
            while (await self._stack.client.get(url)).json()["status"] != "running":
                await asyncio.sleep(0.01)
        if struck:
            await self._strike(dice)
        self.imports.append((len(self._legacy.rows), await self._stack.ended(url, 150)))
        async with self._stack.database() as connection:
            self._writers.pick_on([row["customer_id"] for row in await connection.fetch(_RIVALS)])

    async def _strike(self, dice: random.Random) -> None:
        """A relay that was done with all proves nothing: another one is struck earlier then, up to five."""
        moment = dice.uniform(0, 0.01)
        for _ in range(5):
            if await self._struck(moment):
                return
            moment *= 0.5

    async def _struck(self, moment: float) -> bool:
        """Kill the relay, and the next one `moment` seconds after its first sign; whether it left sent rows behind."""
        await self._kill()
        async with self._writers.held(), self._signs() as signs:  # they would leave us no time to be quick
            before = await signs()
            async with asyncio.timeout(60):
                while await signs() == before:
                    pass
            await asyncio.sleep(moment)
            await self._kill()
            after = await signs()
        async with asyncio.timeout(60):
            while not await self._ready():
                await asyncio.sleep(0.02)
        return before.sent != after.sent and before.oldest_left == after.oldest_left

    async def _kill(self) -> None:
        """Over when its next process is started."""
        pid = self._stack["processes"][RELAY]
        self._stack.kill(RELAY)
        self.kills += 1
        async with asyncio.timeout(60):
            while self._stack["processes"][RELAY] == pid:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def _signs(self) -> AsyncIterator[Callable[[], Awaitable[Signs]]]:
        async with customers_topic.watched(self._stack["kafka"]) as consumer, self._stack.database() as connection:

            async def look() -> Signs:
                sent = await customers_topic.ends(consumer)
                return Signs(sent, await connection.fetchval("SELECT min(id) FROM outbox"))

            yield look

    async def _ready(self) -> bool:
        try:
            answer = await self._stack.client.get(self._stack["metrics"][RELAY].replace("/metrics", "/health/ready"))
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _change_legacy_rows(self, dice: random.Random) -> None:
        """Phones move between the rows, and to those that the clients race for; new rows name such ones too."""
        for key in dice.sample(self._movable, len(self._movable) // 2):
            self._legacy.put({"ID": key, **self._change(dice)})
        pairs = dice.sample(self._movable, len(self._movable) // 10 * 2)
        for one, other in zip(pairs[::2], pairs[1::2], strict=True):
            ones, others = (self._legacy.rows.get(key)["Phone"] for key in (one, other))
            self._legacy.put({"ID": one, "Phone": others})
            self._legacy.put({"ID": other, "Phone": ones})
        first = max(row[0] for row in self._legacy.rows) + 1
        for key in range(first, first + len(self._movable) // 10):
            self._legacy.put({"ID": key, "Phone": skewed(dice, self._phones), "FirstName": dice.choice(NAMES)})

    def _change(self, dice: random.Random) -> dict[str, Any]:
        """The last of the phones, which the clients want the least, some rows name at once: they are rivals."""
        disputed = dice.choice(self._phones[-len(self._movable) // 10 :])
        seen_at = f"2026-01-02T03:04:{dice.randrange(60):02}.500"
        return dice.choice(
            [
                {"Phone": skewed(dice, self._phones)},
                {"Phone": disputed},
                {"Phone": disputed, "LastAuthAt": seen_at},
                {"FirstName": dice.choice(NAMES), "LastAuthAt": seen_at},
                {"FirstName": dice.choice(NAMES), "CityID": str(dice.randrange(200)), "Email": None},
            ]
        )


_RIVALS = """
SELECT customer_id FROM legacy_customers
WHERE phone_id IN (SELECT phone_id FROM legacy_customers GROUP BY phone_id HAVING count(*) > 1) ORDER BY customer_id
"""
