"""Calls to the REST services, as their clients make them. An answer that the contract does not allow is a failure."""

from typing import Any

import httpx

from vapteke_local.machine.processes import StackFailure


class UnexpectedAnswer(StackFailure):
    """A service did not answer, or answered with a status code that was not expected."""


def client(base_url: str, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30, trust_env=False)


async def call(client: httpx.AsyncClient, method: str, path: str, *expected: int, **options: Any) -> Any:
    """Sends a request and returns the JSON of the answer. `options` are those of httpx, such as `params`.

    Raises UnexpectedAnswer if no answer comes or if its status code is not one of `expected`, by default only 200. An
    answer without JSON, such as one with status 204, is a ValueError.
    """
    try:
        answer = await client.request(method, path, **options)
    except httpx.TransportError as error:
        raise UnexpectedAnswer(f"{method} {client.base_url}{path}: {type(error).__name__}") from error
    if answer.status_code not in (expected or (200,)):
        raise UnexpectedAnswer(
            f"{method} {path}: status {answer.status_code}, expected {expected or 200}: {answer.text[:500]}"
        )
    return answer.json()
