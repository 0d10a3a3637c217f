"""How long a change of a legacy row takes until callers and other teams see it."""

import asyncio
import time

import customers_topic
from running_stack import RunningStack
from vapteke_local.vaptekesync import Server

PROMISED_SECONDS, ON_A_BUSY_MACHINE = 7, 21
"""Under a schedule of every 5 s. A machine that has other work to do may take longer than we promise."""


async def arrived(server: Server, stack: RunningStack, legacy_id: int, customer_id: int, lastname: str) -> float:
    """Change the last name of a legacy row, and wait for it in the REST API and in the topic of customers.

    Returns the seconds since the change until both have it.
    """
    async with customers_topic.following(stack["kafka"]) as consumer, asyncio.timeout(120):
        started = time.monotonic()
        server.put({"ID": legacy_id, "LastName": lastname})
        event = await customers_topic.event_of(consumer, customer_id)
        while (await stack.client.get(f"/rest/v1/customers/{customer_id}/")).json()["lastname"] != lastname:
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - started
    assert (event.lastname, event.changed) == (lastname, ["lastname"])
    return seconds
