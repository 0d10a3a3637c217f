"""Shows that favorites follow their customer: hidden when the customer is deleted, shown again after a restore."""

import asyncio
import time
from typing import Any

import httpx
from rich.console import Console

from vapteke_local.demo.rest_client import call

FAVORITES, CUSTOMERS = "/rest/v1/favorites/", "/rest/v1/customers/"
WITHIN_SECONDS = 2.0
GIVE_UP_SECONDS = 30.0
POLL_SECONDS = 0.02

Items = list[dict[str, Any]]


async def run(customers: httpx.AsyncClient, favorites: httpx.AsyncClient, console: Console) -> list[str]:
    """Adds favorites to two customers, deletes and restores one of them, and measures when its favorites follow.

    Returns a sentence for each time that was longer than WITHIN_SECONDS. Returns an empty list also if there are fewer
    than two customers, because nothing can be shown then. Raises UnexpectedAnswer.
    """
    console.rule("Favorites that follow the customer", align="left")
    two = (await call(customers, "GET", CUSTOMERS, params={"limit": 2}))["items"]
    if len(two) < 2:
        console.print("too few customers to show this")
        return []
    leaving, staying = (item["id"] for item in two)
    for user_id, item_ids in ((leaving, [10, 11, 12]), (staying, [10])):
        await call(favorites, "POST", f"{FAVORITES}bulk/", json={"user_id": user_id, "item_ids": item_ids})
    both = await _listed(favorites, leaving, staying)
    theirs = [item for item in both if item["user_id"] == staying]
    console.print(f"customers {leaving} and {staying} have {len(both)} favorites", highlight=False)

    await call(customers, "DELETE", f"{CUSTOMERS}{leaving}/")
    gone = await _until(favorites, [leaving, staying], theirs)
    console.print(
        f"customer {leaving} deleted through customers-api: its favorites were hidden after {gone:.2f} s",
        highlight=False,
    )

    await call(customers, "POST", f"{CUSTOMERS}{leaving}/restore/")
    back = await _until(favorites, [leaving, staying], both)
    console.print(
        f"customer {leaving} restored: the same favorites were shown again after {back:.2f} s", highlight=False
    )
    return [
        f"favorites were {s:.2f} s behind, more than {WITHIN_SECONDS:.0f} s" for s in (gone, back) if s > WITHIN_SECONDS
    ]


async def _listed(favorites: httpx.AsyncClient, *user_ids: int) -> Items:
    return list((await call(favorites, "GET", FAVORITES, params={"user_id": user_ids}))["items"])


async def _until(favorites: httpx.AsyncClient, user_ids: list[int], expected: Items) -> float:
    """Polls the favorites of `user_ids` until they equal `expected`. Returns the seconds that this took.

    Gives up without an error: a result above GIVE_UP_SECONDS means that they never did.
    """
    started = time.monotonic()
    while True:
        items = await _listed(favorites, *user_ids)
        waited = time.monotonic() - started
        if items == expected or waited > GIVE_UP_SECONDS:
            return waited
        await asyncio.sleep(POLL_SECONDS)
