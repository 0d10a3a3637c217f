"""Describes an import job for callers and people: its counts, how far it is, and what it waits for."""

from uuid import UUID

import asyncpg

from customers_api.imports import waiting_for
from customers_api.imports.response_models import Import


def url(import_id: UUID) -> str:
    """The path of the job in the REST API."""
    return f"/rest/v1/imports/{import_id}/"


def describe(row: asyncpg.Record) -> Import:
    """`row` is one of `queries.find`."""
    read = sum(row[name] for name in ("created", "updated", "unchanged", "skipped", "rejected"))
    rate = read / row["seconds"] if row["seconds"] else None
    planned, running = row["planned_rows"], row["finished_at"] is None
    to_read = None if planned is None else max(planned - row["unread"], 0)
    return Import(
        **row,
        waiting_for=waiting_for.describe(row),
        read=read,
        percent=_percent(row["status"], read, to_read),
        rows_per_second=round(rate, 1) if rate is not None else None,
        seconds_left=round(max(to_read - read, 0) / rate, 1) if running and rate and to_read is not None else None,
    )


def _percent(status: str, read: int, to_read: int | None) -> float | None:
    if status == "completed":
        return 100.0
    return None if to_read is None else round(min(100 * read / max(to_read, 1), 100.0), 1)
