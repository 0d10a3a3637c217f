"""A running stack as its callers see it: behind a gateway, in a cluster, or on this machine."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from deployed_stack import DeployedStack, deployed_stack
from running_stack import verdict
from walkthrough import blocks, differs, walk

PHONE = "79990000001"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[DeployedStack]:
    async with deployed_stack() as stack:
        yield stack


@pytest.fixture
async def customer_id(stack: DeployedStack) -> AsyncIterator[int]:
    """One with two favorites."""
    answer = await stack.customers("POST", "customers/", json={"phone": PHONE, "firstname": "Анна"})
    assert answer.status_code == 201, answer.text
    customer_id: int = answer.json()["id"]
    await stack.favorites("POST", "bulk/", json={"user_id": customer_id, "item_ids": [10, 11]})
    yield customer_id
    await stack.customers("DELETE", f"customers/{customer_id}/")


async def test_an_import_is_exact_and_the_same_again_changes_nothing(stack: DeployedStack) -> None:
    expected = stack.truth() if await stack.is_new() else stack.truth_again()

    first, second = await stack.imported(), await stack.imported()

    assert (first["status"], first["error"], verdict(first)) == ("completed", None, expected)
    assert (second["status"], second["error"], verdict(second)) == ("completed", None, stack.truth_again())


async def test_favorites_follow_their_customer(stack: DeployedStack, customer_id: int) -> None:
    before = await marked(stack, customer_id)

    await stack.customers("DELETE", f"customers/{customer_id}/")
    await lasted(stack, customer_id, [])
    await stack.customers("POST", f"customers/{customer_id}/restore/")

    assert [item["item_id"] for item in before] == [10, 11]
    await lasted(stack, customer_id, before)


async def marked(stack: DeployedStack, customer_id: int) -> list[dict[str, Any]]:
    answer = await stack.favorites("GET", params={"user_id": customer_id})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def lasted(stack: DeployedStack, customer_id: int, expected: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(120):
        while await marked(stack, customer_id) != expected:
            await asyncio.sleep(0.05)


async def test_a_thousand_filters_pass(stack: DeployedStack, customer_id: int) -> None:
    """They come back in the header Link."""
    users = [customer_id, *range(2_000_000_000, 2_000_000_999)]

    answer = await stack.favorites("GET", params={"user_id": users, "limit": 1})

    assert (answer.status_code, answer.json()["count"]) == (200, 2)
    assert len(answer.headers["link"]) > 10_000


async def test_the_body_of_a_deletion_arrives(stack: DeployedStack, customer_id: int) -> None:
    ids = [item["id"] for item in await marked(stack, customer_id)]

    answer = await stack.favorites("DELETE", json={"id": ids})

    assert (answer.status_code, answer.json()["data"]) == (200, {"count_deleted": 2})


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("customers/2000000000/", {}, 404),
        ("customers/?limit=x", {}, 422),
        ("customers/", {"headers": {"Authorization": "Bearer no"}}, 401),
        ("customers/lookup/", {"content": b"x" * 300_000, "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
async def test_whoever_refuses_says_so_as_a_problem(
    stack: DeployedStack, path: str, options: dict[str, Any], status: int
) -> None:
    answer = await stack.customers("POST" if "content" in options else "GET", path, **options)

    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["instance"]) == (status, f"/rest/v1/{path.partition('?')[0]}")
    assert re.fullmatch("[0-9a-f]{32}", problem["trace_id"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_every_call_of_the_documents_is_answered_as_they_show_twice_in_a_row(stack: DeployedStack) -> None:
    variables = {
        "AUTH": f"Authorization: Bearer {stack.token}",
        "CUSTOMERS_API": stack.customers_api,
        "FAVORITES_API": stack.favorites_api,
    }
    possible = [block for block in blocks() if not any("vapteke legacy" in step.command for step in block)]
    steps = [step for block in possible for step in block if ".venv/bin/vapteke" not in step.command]

    answers = [*await walk(steps, variables), *await walk(steps, variables)]

    assert len(answers) > 50
    assert [answer for answer in answers if differs(answer)] == []
