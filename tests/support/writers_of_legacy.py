"""Many writers who change vAptekeSync at the same time, in transactions that stay open for a while."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from vapteke_local.vaptekesync import Server

WRITERS = 50


class Writer:
    """Changes rows in one transaction after the other, each open for up to `longest_seconds`."""

    def __init__(self, server: Server, keys: Sequence[int], name: str, longest_seconds: float) -> None:
        self._server, self._keys, self._name, self._longest = server, keys, name, longest_seconds
        self._draw = random.Random(name)
        self.committed = 0
        """How many changes have become visible."""

    async def work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            deadline = asyncio.get_running_loop().time() + self._draw.uniform(0, self._longest)
            made = 0
            while True:
                made += self._change()
                left = deadline - asyncio.get_running_loop().time()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), max(0.01, min(left, self._longest / 5)))
                if left <= 0 or stopping.is_set():
                    break
            if made:
                ending = self._draw.choice(["commit", "commit", "commit", "rollback"])
                self._server.change({"do": ending, "transaction": self._name})
                self.committed += made if ending == "commit" else 0

    def _change(self) -> bool:
        with suppress(ValueError, LookupError):  # another transaction holds the row; it is gone, or there already
            self._server.change({**self._some_change(), "transaction": self._name})
            return True
        return False

    def _some_change(self) -> dict[str, Any]:
        """Rows are added and removed only in the lower third of the keys; above, their number shows nothing."""
        kind = self._draw.choice(["set", "set", "set", "add", "remove"])
        key = self._draw.choice(self._keys if kind == "set" else self._keys[: len(self._keys) // 3])
        if kind == "remove":
            return {"do": "remove", "id": key}
        values = {"LastName": self._draw.choice(["Первая", "Вторая"]), "CityID": self._draw.randrange(3)}
        if kind == "set":
            return {"do": "set", "id": key, "values": values}
        key += self._draw.randrange(3)  # one that was removed, or one between the others
        return {"do": "add", "values": {"ID": key, "Phone": f"8902{key % 10**7:07}", **values}}


@asynccontextmanager
async def writing(server: Server, keys: Sequence[int], longest_seconds: float) -> AsyncIterator[list[Writer]]:
    """`WRITERS` writers work while the block runs. At its end each ends its transaction."""
    stopping = asyncio.Event()
    writers = [Writer(server, keys, f"writer {number}", longest_seconds) for number in range(WRITERS)]
    working = [asyncio.create_task(writer.work(stopping)) for writer in writers]
    try:
        yield writers
    finally:
        stopping.set()
        await asyncio.gather(*working)
