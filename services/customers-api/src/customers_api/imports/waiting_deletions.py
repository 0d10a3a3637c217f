"""Counts the gone rows whose deletions wait for an approval: for the metric, and for the warnings of later imports."""

import time
from typing import Final

import asyncpg
from prometheus_client import Gauge

_STATUSES: Final = ("reported", "withheld")
_EVERY_SECONDS: Final = 10

rows = Gauge(
    "vapteke_gone_rows",
    "Rows that are gone from vAptekeSync and whose deletions can be approved; 0 also if another process is the leader",
    ["status"],
)


async def count(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows are `reported`, and how many `withheld`. Looks only at rows that are marked as gone."""
    counts = {row["status"]: row["rows"] for row in await connection.fetch(_COUNT, _STATUSES)}
    return {status: counts.get(status, 0) for status in _STATUSES}


class WaitingCount:
    """Keeps the metric current."""

    def __init__(self) -> None:
        self._due = 0.0

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Count and set the metric, unless that was done less than 10 seconds ago."""
        if time.monotonic() >= self._due:
            show(await count(connection))
            self._due = time.monotonic() + _EVERY_SECONDS


def show(counts: dict[str, int]) -> None:
    """Set the metric. A status that is not in `counts` becomes 0."""
    for status in _STATUSES:
        rows.labels(status).set(counts.get(status, 0))


show({})

_COUNT: Final = """
SELECT gone_as AS status, count(*) AS rows FROM legacy_customers
WHERE gone_in IS NOT NULL AND gone_as = ANY($1) GROUP BY gone_as
"""
