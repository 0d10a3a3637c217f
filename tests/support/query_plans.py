"""A connection that records the plan of every query it runs, and functions that read such plans."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg

# Postgres' own settings, and with the one that most change
COSTS = {
    "by default": {"random_page_cost": "4", "effective_cache_size": "4GB", "work_mem": "4MB"},
    "on an SSD": {"random_page_cost": "1.1", "effective_cache_size": "4GB", "work_mem": "4MB"},
}


class PlanRecorder(asyncpg.Connection):
    """Keeps the plan of what it fetched last, as Postgres makes it for these values, and what came of it."""

    plan: dict[str, Any]

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        await self.explain(query, *args)
        return await super().fetch(query, *args, **options)

    async def prepare(self, query: str, **options: Any) -> Any:
        return Explained(await super().prepare(query, **options), self)

    async def explain(self, query: str, *args: Any) -> None:
        [[plan]] = await super().fetch(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", *args)
        self.plan = json.loads(plan)[0]["Plan"]


class Explained:
    def __init__(self, statement: asyncpg.prepared_stmt.PreparedStatement, connection: PlanRecorder) -> None:
        self._statement, self._connection = statement, connection

    async def fetch(self, *args: Any) -> Any:
        await self._connection.explain(self._statement.get_query(), *args)
        return await self._statement.fetch(*args)


async def connect(dsn: str, schema: str, costs: str) -> PlanRecorder:
    settings = {"search_path": schema, "jit": "off", **COSTS[costs]}
    return await asyncpg.connect(dsn, connection_class=PlanRecorder, server_settings=settings)


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scanned(connection: PlanRecorder) -> list[str]:
    """Tables that were scanned completely, except the small tables of counts."""
    found = [node["Relation Name"] for node in nodes(connection.plan) if node["Node Type"] == "Seq Scan"]
    return [name for name in found if not name.endswith("_counts")]


def used(connection: PlanRecorder) -> set[str]:
    return {node["Index Name"] for node in nodes(connection.plan) if "Index Name" in node}


def rows_read(connection: PlanRecorder, table: str) -> int:
    """Rows read from the table or its indexes, including rows that did not match."""
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in nodes(connection.plan)
        if node.get("Relation Name") == table
    )
