"""What a caller sees of a stack that runs somewhere: behind a gateway, in a cluster, or on this machine."""

import asyncio
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from deployed import Deployed, deployed
from running_stack import verdict

README = Path(__file__).parents[2] / "README.md"
PHONE = "79990000001"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Deployed]:
    async with deployed() as stack:
        yield stack


@pytest.fixture
async def customer_id(stack: Deployed) -> AsyncIterator[int]:
    """One with two favorites."""
    answer = await stack.customers("POST", "customers/", json={"phone": PHONE, "firstname": "Анна"})
    assert answer.status_code == 201, answer.text
    customer_id: int = answer.json()["id"]
    await stack.favorites("POST", "bulk/", json={"user_id": customer_id, "item_ids": [10, 11]})
    yield customer_id
    await stack.customers("DELETE", f"customers/{customer_id}/")


async def test_an_import_is_exact_and_the_same_again_changes_nothing(stack: Deployed) -> None:
    expected = stack.truth() if await stack.is_new() else stack.truth_again()

    first, second = await stack.imported(), await stack.imported()

    assert (first["status"], first["error"], verdict(first)) == ("completed", None, expected)
    assert (second["status"], second["error"], verdict(second)) == ("completed", None, stack.truth_again())


async def test_favorites_follow_their_customer(stack: Deployed, customer_id: int) -> None:
    before = await marked(stack, customer_id)

    await stack.customers("DELETE", f"customers/{customer_id}/")
    await lasted(stack, customer_id, [])
    await stack.customers("POST", f"customers/{customer_id}/restore/")

    assert [item["item_id"] for item in before] == [10, 11]
    await lasted(stack, customer_id, before)


async def marked(stack: Deployed, customer_id: int) -> list[dict[str, Any]]:
    answer = await stack.favorites("GET", params={"user_id": customer_id})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def lasted(stack: Deployed, customer_id: int, expected: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(10):
        while await marked(stack, customer_id) != expected:
            await asyncio.sleep(0.05)


async def test_a_thousand_filters_pass(stack: Deployed, customer_id: int) -> None:
    """They come back in the header Link."""
    users = [customer_id, *range(2_000_000_000, 2_000_000_999)]

    answer = await stack.favorites("GET", params={"user_id": users, "limit": 1})

    assert (answer.status_code, answer.json()["count"]) == (200, 2)
    assert len(answer.headers["link"]) > 10_000


async def test_the_body_of_a_deletion_arrives(stack: Deployed, customer_id: int) -> None:
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
    stack: Deployed, path: str, options: dict[str, Any], status: int
) -> None:
    answer = await stack.customers("POST" if "content" in options else "GET", path, **options)

    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["instance"]) == (status, f"/rest/v1/{path.partition('?')[0]}")
    assert re.fullmatch("[0-9a-f]{32}", problem["trace_id"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_every_curl_call_of_the_readme_does_what_it_says(stack: Deployed) -> None:
    variables = {
        "AUTH": f"Authorization: Bearer {stack.token}",
        "CUSTOMERS_API": stack.customers_api,
        "FAVORITES_API": stack.favorites_api,
    }
    answers = []

    for line in curls():
        status, body = await called(line, variables)
        answers.append((line, status))
        if found := re.search(r'"import_id":"([^"]+)"', body):
            variables["IMPORT_ID"] = found[1]
        if "POST" in line and (found := re.match(r'{"id":(\d+),"phone"', body)):
            variables["ID"] = found[1]

    await stack.customers("DELETE", f"customers/{variables['ID']}/")
    assert len(answers) > 15
    assert [(line, status) for line, status in answers if not expected(line, status)] == []


def curls() -> list[str]:
    return [line.partition("  #")[0] for line in README.read_text().splitlines() if line.startswith('curl -H "$AUTH"')]


def expected(line: str, status: int) -> bool:
    """An import may have ended before it is to be cancelled."""
    return 200 <= status < 300 or ("/cancel/" in line and status == 409)


async def called(line: str, variables: dict[str, str]) -> tuple[int, str]:
    """As a shell would, without one."""
    replaced = (re.sub(r"\$(\w+)", lambda name: variables[name[1]], part) for part in shlex.split(line))
    command = [*replaced, "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await curl.communicate()
    body, _, status = output.decode().rpartition("\n")
    return int(status), body
