"""Clients that PATCH one customer each, repeatedly, and count their responses."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

CUSTOMERS = "/rest/v1/customers/"


class PatchClients:
    """`answers` counts responses by status, and failed requests by the name of their error."""

    def __init__(self, client: httpx.AsyncClient, customers: list[int]) -> None:
        self._http, self._customers = client, customers
        self.answers: Counter[int | str] = Counter()
        self.bodies: dict[int, str] = {}
        """The first body of each status above 499."""
        self._asked_at = self._confirmed_at = 0.0  # of the last change that was confirmed, by the monotonic clock

    async def written(self, seconds: float) -> float:
        """Seconds from now until a change is confirmed that was requested after now."""
        since = time.monotonic()
        async with asyncio.timeout(seconds):
            while self._asked_at < since:
                await asyncio.sleep(0.01)
        return self._confirmed_at - since

    async def patch(self, customer: int) -> None:
        number = 0
        while True:
            number += 1
            asked_at = time.monotonic()
            try:
                answer = await self._http.patch(f"{CUSTOMERS}{customer}/", json={"city_id": number % 1000})
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 200:
                self._asked_at, self._confirmed_at = asked_at, time.monotonic()
            elif answer.status_code >= 500:
                self.bodies.setdefault(answer.status_code, answer.text)
                assert answer.status_code != 503 or answer.headers["Retry-After"]
                await asyncio.sleep(0.05)


@asynccontextmanager
async def patch_clients(url: str, token: str, count: int = 4) -> AsyncIterator[PatchClients]:
    """Run the clients during the block. Each has a customer of its own."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client, _patching(client, count) as each:
        yield each


@asynccontextmanager
async def _patching(client: httpx.AsyncClient, count: int) -> AsyncIterator[PatchClients]:
    customers = []
    for number in range(count):
        answer = await client.post(CUSTOMERS, json={"phone": f"7900{time.time_ns() // 1000 % 1_000_000:06}{number}"})
        answer.raise_for_status()
        customers.append(answer.json()["id"])
    clients = PatchClients(client, customers)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(clients.patch(customer)) for customer in customers]
        yield clients
        for task in tasks:
            task.cancel()
