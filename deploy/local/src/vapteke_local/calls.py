"""Calls of the services, as a client of theirs makes them; what is not the contract's answer is a failure."""

from typing import Any

import httpx

from vapteke_local.processes import StackFailure


class Refused(StackFailure):
    """A service answered otherwise than the contract says."""


def client(base_url: str, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30, trust_env=False)


async def call(client: httpx.AsyncClient, method: str, path: str, *expected: int, **options: Any) -> Any:
    """The answer's JSON; 200 unless others are expected. Raises Refused."""
    try:
        answer = await client.request(method, path, **options)
    except httpx.TransportError as error:
        raise Refused(f"{method} {client.base_url}{path}: {type(error).__name__}") from error
    if answer.status_code not in (expected or (200,)):
        raise Refused(f"{method} {path}: {answer.status_code} instead of {expected or 200}: {answer.text[:500]}")
    return answer.json()
