"""The relay alone, as a process of its own for tests to kill and to freeze: `python relay_process.py`."""

import asyncio

from customers_api.outbox import relay
from customers_api.outbox.relay import Relay
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from vapteke_shared.postgres import pools
from vapteke_shared.process import lifecycle
from vapteke_shared.process.health import Health


async def main(settings: WorkSettings, stopping: asyncio.Event) -> None:
    health = Health("outbox")
    async with pools.create_pool(settings, SCHEMA, 4) as pool:
        loops = {"relay": Relay(settings, pool, health).run, "outbox gauges": lambda s: relay.measure(pool, s)}
        await lifecycle.work(settings, health, stopping, loops)


if __name__ == "__main__":
    lifecycle.run(WorkSettings, main)
