"""What happens to a stack while clients write to it: imports, changes of the legacy rows, kills of the relay."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import customers_topic
import httpx
from rest_writers import NAMES, Writers
from running_stack import RunningStack
from vapteke_local.vaptekesync import Server

RELAY = "customers-api work 1"
Step = Callable[[], Awaitable[None]]


class Disturbances:
    """Two imports, the legacy rows changed between them, and kills, one of them in the course of each import."""

    def __init__(
        self, stack: RunningStack, legacy: Server, writers: Writers, phones: Sequence[str], movable: Sequence[int]
    ) -> None:
        self._stack, self._legacy, self._writers = stack, legacy, writers
        self._phones, self._movable = phones, movable
        self.jobs: list[dict[str, Any]] = []
        self.kills = 0

    async def happen(self, dice: random.Random, writes: int, kills: int) -> None:
        """Each at its moment, told by the number of writes that are done."""
        steps: list[tuple[float, Step]] = [
            (dice.uniform(0.02, 0.75), lambda: self._kill(dice)) for _ in range(kills - 2)
        ]
        steps += [(0.1, lambda: self._import(dice)), (0.4, lambda: self._import_again(dice))]
        for moment, step in sorted(steps, key=lambda each: each[0]):
            while self._writers.written < moment * writes:
                await asyncio.sleep(0.01)
            await step()

    async def _import(self, dice: random.Random) -> None:
        url = await self._stack.start_import()
        async with asyncio.timeout(60):
            while (await self._stack.client.get(url)).json()["status"] != "running":
                await asyncio.sleep(0.01)
        await self._kill(dice)
        self.jobs.append(await self._stack.ended(url, 300))

    async def _import_again(self, dice: random.Random) -> None:
        self._change_legacy_rows(dice)
        await self._import(dice)

    async def _kill(self, dice: random.Random) -> None:
        """In the midst of sending, or right after; over when the relay's next process is ready."""
        await self._sending()
        await asyncio.sleep(dice.uniform(0, 0.03))
        pid = self._stack["processes"][RELAY]
        self._stack.kill(RELAY)
        self.kills += 1
        async with asyncio.timeout(60):
            while self._stack["processes"][RELAY] == pid or not await self._ready():
                await asyncio.sleep(0.02)

    async def _sending(self) -> None:
        async with asyncio.timeout(60), customers_topic.watched(self._stack["kafka"]) as consumer:
            ends = await customers_topic.ends(consumer)
            while await customers_topic.ends(consumer) == ends:
                await asyncio.sleep(0.002)

    async def _ready(self) -> bool:
        try:
            answer = await self._stack.client.get(self._stack["metrics"][RELAY].replace("/metrics", "/health/ready"))
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _change_legacy_rows(self, dice: random.Random) -> None:
        """Phones move between the rows and to those that the clients race for; new rows name such ones too."""
        for key in dice.sample(self._movable, len(self._movable) // 3):
            self._legacy.put({"ID": key, **_change(dice, self._phones)})
        pairs = dice.sample(self._movable, len(self._movable) // 10 * 2)
        for one, other in zip(pairs[::2], pairs[1::2], strict=True):
            ones, others = (self._legacy.rows.get(key)["Phone"] for key in (one, other))
            self._legacy.put({"ID": one, "Phone": others})
            self._legacy.put({"ID": other, "Phone": ones})
        first = max(row[0] for row in self._legacy.rows) + 1
        for key in range(first, first + len(self._movable) // 10):
            self._legacy.put({"ID": key, "Phone": dice.choice(self._phones), "FirstName": dice.choice(NAMES)})


def _change(dice: random.Random, phones: Sequence[str]) -> dict[str, Any]:
    seen_at = f"2026-01-02T03:04:{dice.randrange(60):02}.500"
    return dice.choice(
        [
            {"Phone": dice.choice(phones)},
            {"Phone": dice.choice(phones), "LastAuthAt": seen_at},
            {"FirstName": dice.choice(NAMES), "LastAuthAt": seen_at},
            {"FirstName": dice.choice(NAMES), "CityID": str(dice.randrange(200)), "Email": None},
        ]
    )
