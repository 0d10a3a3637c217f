"""The relay alone, as a process of its own for tests to kill and to freeze: `python relay_process.py`."""

import asyncio

from customers_api import database, relay
from customers_api.relay import Relay
from customers_api.settings import WorkSettings
from vapteke_shared import logs, processes
from vapteke_shared.health import Health
from vapteke_shared.settings import load


async def main(stopping: asyncio.Event) -> None:
    settings, health = load(WorkSettings), Health("outbox")
    logs.configure(settings.log_level)
    async with database.create_pool(settings, 4) as pool:
        loops = Relay(settings, pool, health).run, lambda s: relay.measure(pool, s)
        await processes.work(settings, health, stopping, *loops)


if __name__ == "__main__":
    processes.run(main)
