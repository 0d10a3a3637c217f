"""What imports have made of the rows that are gone, and of their customers."""

import asyncpg
from customers_api.imports.gone_rows import Deletions
from table_imports import ALL

APPLY = Deletions("apply", limit=10, limit_percent=10)


async def marks(pool: asyncpg.Pool) -> dict[int, str]:
    rows = await pool.fetch("SELECT legacy_id, gone_as FROM legacy_customers WHERE gone_in IS NOT NULL ORDER BY 1")
    return {row["legacy_id"]: row["gone_as"] for row in rows}


async def customer_of(pool: asyncpg.Pool, legacy_id: int) -> int:
    customer: int = await pool.fetchval("SELECT customer_id FROM legacy_customers WHERE legacy_id = $1", legacy_id)
    return customer


async def deleted(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch(
        "SELECT m.legacy_id FROM legacy_customers m JOIN customers c ON c.id = m.customer_id"
        " WHERE c.deleted_at IS NOT NULL ORDER BY 1"
    )
    return [row["legacy_id"] for row in rows]


def withheld(job: asyncpg.Record) -> list[str]:
    """The warnings about withheld deletions."""
    return [warning for warning in job["warnings"] if "were not deleted" in warning]


def without(*gone: int) -> list[int]:
    return [row for row in ALL if row not in gone]
