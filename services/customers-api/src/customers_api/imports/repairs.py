"""Repairs what an import of kind `compare` has found: decides its phones again, and reads its rows again."""

from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from vapteke_shared.contract.limits import ROWS_PER_IMPORT
from vapteke_shared.http.problems import ProblemError

from customers_api.customers import phone_owners
from customers_api.imports import queries, row_imports
from customers_api.imports.queries import ImportNotFound
from customers_api.imports.row_imports import NoRows, TooManyRows

_DECIDED_AT_ONCE: Final = 100


class NotAComparison(ProblemError):
    def __init__(self) -> None:
        super().__init__(409, "not_a_comparison", "Only a completed import of kind compare can be repaired.")


class Repair(NamedTuple):
    """The import that reads the rows again, and the customers whose phone has changed."""

    import_id: UUID
    customer_ids: list[int]


async def start(connection: asyncpg.Connection, import_id: UUID, requested_by: str | None) -> Repair:
    """Decide again who holds the phones of this comparison, and start an import of its rows. Safe to repeat.

    Both steps work on the present state, so an old comparison does no harm. Raises ImportNotFound, NotAComparison,
    NoRows, TooManyRows; then nothing is changed.
    """
    job = await connection.fetchrow("SELECT kind, status FROM imports WHERE id = $1", import_id)
    if job is None:
        raise ImportNotFound
    if tuple(job) != ("compare", "completed"):
        raise NotAComparison
    found = await queries.all_differences(connection, import_id)
    if not found:
        raise NoRows
    legacy_ids = sorted({row["legacy_id"] for row in found} - {None})
    if len(legacy_ids) > ROWS_PER_IMPORT:  # before any phone changes
        raise TooManyRows(len(legacy_ids))
    owners = sorted({row["customer_id"] for row in found if row["difference"] == "phone_owner"})
    changed = set[int]()
    for first in range(0, len(owners), _DECIDED_AT_ONCE):
        changed.update(await phone_owners.decide_again(connection, owners[first : first + _DECIDED_AT_ONCE]))
    new_id = await row_imports.start(connection, row_imports.by_legacy_ids(legacy_ids), requested_by)
    return Repair(new_id, sorted(changed))
