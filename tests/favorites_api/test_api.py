"""The REST door to favorites, asked as the frontend asks."""

from typing import Any

import asyncpg
import httpx

URL = "/rest/v1/favorites/"


async def add(client: httpx.AsyncClient, user_id: int, item_id: int) -> dict[str, Any]:
    answer = await client.post(URL, json={"user_id": user_id, "item_id": item_id})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


async def delete_customer(pool: asyncpg.Pool, customer_id: int) -> None:
    """As the customer's event does it."""
    await pool.execute(
        "INSERT INTO deleted_customers (customer_id, version, deleted_at) VALUES ($1, 2, now())", customer_id
    )


async def test_adding_twice_gives_the_same_favorite(client: httpx.AsyncClient) -> None:
    first = await client.post(URL, json={"user_id": 14722, "item_id": 10})
    second = await client.post(URL, json={"user_id": 14722, "item_id": 10})

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.json().keys() == {"id", "user_id", "item_id", "created_at"}


async def test_favorites_of_a_deleted_customer_are_hidden(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    kept, hidden = await add(client, 1, 10), await add(client, 2, 10)
    await delete_customer(pool, 2)

    answers = [
        await client.get(URL),
        await client.get(f"{URL}?item_id=10"),
        await client.get(f"{URL}?user_id=2&user_id=1"),
    ]
    deleted = await client.request("DELETE", URL, json={"id": [kept["id"], hidden["id"]]})
    refused = await client.post(URL, json={"user_id": 2, "item_id": 11})

    assert [answer.json() for answer in answers] == [{"items": [kept], "count": 1}] * 3
    assert deleted.json() == {"success": True, "message": None, "data": {"count_deleted": 1}}
    assert (refused.status_code, refused.json()["code"]) == (404, "customer_not_found")
