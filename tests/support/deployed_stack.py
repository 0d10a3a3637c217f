"""A stack that runs somewhere, as its callers see it: over HTTP alone.

`VAPTEKE_URL` is the base URL of customers-api, and of favorites-api unless `VAPTEKE_FAVORITES_URL` is that one's;
`VAPTEKE_TOKEN` is a token of every scope; `VAPTEKE_CUSTOMERS` rows of `VAPTEKE_SEED` stand in vAptekeSync. Without them
a local stack is started. For made-up customers alone: what runs on it deletes.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from running_stack import ENDED, running_stack
from vapteke_local import people, vaptekesync

LOCAL_SEED, LOCAL_COUNT = 7, 3_000


class DeployedStack:
    def __init__(self, customers_api: str, favorites_api: str, token: str, seed: int, count: int) -> None:
        self.customers_api, self.favorites_api, self.token = customers_api, favorites_api, token
        self.seed, self.count = seed, count
        self._client = httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30)

    async def customers(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._client.request(method, f"{self.customers_api}/rest/v1/{path}", **options)

    async def favorites(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        return await self._client.request(method, f"{self.favorites_api}/rest/v1/favorites/{path}", **options)

    async def imported(self, seconds: float = 300) -> dict[str, Any]:
        """The job of a whole import, once it has ended."""
        answer = await self._client.get(f"{self.customers_api}/grpc/v1/service/import_customers/")
        assert answer.status_code == 202, answer.text
        async with asyncio.timeout(seconds):
            while (job := await self._job(answer.json()["data"]["import_id"]))["status"] not in ENDED:
                await asyncio.sleep(0.2)
        return job

    async def _job(self, import_id: str) -> dict[str, Any]:
        answer = await self.customers("GET", f"imports/{import_id}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def is_new(self) -> bool:
        """Nothing has been imported yet."""
        return bool((await self.customers("GET", "imports/?status=completed&limit=1")).json()["count"] == 0)

    def truth(self) -> dict[str, int]:
        return dict(people.truth(self.seed, self.count))

    def truth_again(self) -> dict[str, int]:
        return dict(people.truth_again(self.seed, self.count))

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def deployed_stack() -> AsyncIterator[DeployedStack]:
    if url := os.environ.get("VAPTEKE_URL"):
        rows = int(os.environ.get("VAPTEKE_SEED", "1")), int(os.environ.get("VAPTEKE_CUSTOMERS", "78553"))
        favorites_url = os.environ.get("VAPTEKE_FAVORITES_URL", url)
        stack = DeployedStack(url, favorites_url, os.environ["VAPTEKE_TOKEN"], *rows)
        yield stack
        await stack.close()
        return
    people_there = [tuple(person) for person in people.generate(LOCAL_SEED, LOCAL_COUNT)]
    async with vaptekesync.serve(people_there) as legacy, running_stack(legacy) as running:
        stack = DeployedStack(
            running["customers_api"], running["favorites_api"], running["token"], LOCAL_SEED, LOCAL_COUNT
        )
        yield stack
        await stack.close()
