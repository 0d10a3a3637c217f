"""Rewrites, after a completed import, the names and e-mail addresses that an earlier release stored in another form.

No filter of the API finds the old forms, and an import rewrites an old form only if the mirror holds it too. The first
run under a version of the rule reads all customers. Each later run reads the customers that have changed since the
previous run began, because a process of the earlier release may have written them. An import of changes that has read
nothing begins no run: with a schedule of every few seconds, the runs would never end.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
from vapteke_shared.contract import texts
from vapteke_shared.postgres.retries import retry_conflicts
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause

from customers_api import leader
from customers_api.customers import customer_events
from customers_api.customers.customer_events import Change
from customers_api.imports import batch_state
from customers_api.imports.text_rule import FIELDS, rewritten

_SCANNED_ROWS = 5_000
_READ_ROWS = 100  # of the scanned rows, those with unusual characters; at most so many are locked at once
_SHARE = 0.2  # of the time, so that other writers need not wait
_EVERY_SECONDS = 1.0


class Rewritten(NamedTuple):
    """A customer's texts as this release stores them, read at `version`. `changed` names the fields with a new text."""

    id: int
    version: int
    firstname: str | None
    lastname: str | None
    email: str | None
    changed: Sequence[str]


async def run(pool: asyncpg.Pool, health: Health, stopping: asyncio.Event) -> None:
    """Rewrite texts while this process leads, until `stopping` is set.

    The loop is separate from the sweeper's, so that no verdict waits for it.
    """

    async def lead(connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            started = time.monotonic()
            more = await rewrite_next(connection)
            health.report_ready("texts")
            resting = (time.monotonic() - started) * (1 / _SHARE - 1)
            await pause(stopping, min(resting, _EVERY_SECONDS) if more else _EVERY_SECONDS)

    await leader.lead(pool, health, "texts", lead, stopping)


@retry_conflicts
async def rewrite_next(connection: asyncpg.Connection) -> bool:
    """Rewrite the texts of the next customers of the run, at most `_READ_ROWS`, and store how far the run is.

    Begins a new run if none is under way and an import has completed since the last. Returns False if no run is due,
    otherwise True: call it again to continue. Safe to repeat.
    """
    await connection.execute(_BEGIN, texts.VERSION)
    last_id, since = await connection.fetchrow("SELECT last_id, since FROM customer_rereads")
    if last_id is None:
        return False
    upto = await connection.fetchval(_UPTO, last_id, _SCANNED_ROWS)
    rows = await connection.fetch(_UNUSUAL, last_id, upto, since, _READ_ROWS)
    if len(rows) == _READ_ROWS:
        upto = rows[-1]["id"]
    found = [_rewritten(row) for row in rows]
    await _write(connection, [each for each in found if each.changed], upto)
    return True


def _rewritten(row: Mapping[str, Any]) -> Rewritten:
    new = {field: rewritten(field, row[field]) for field in FIELDS}
    changed = [field for field in FIELDS if new[field] != row[field]]
    return Rewritten(row["id"], row["version"], **new, changed=changed)


async def _write(connection: asyncpg.Connection, found: Sequence[Rewritten], upto: int | None) -> None:
    """Write the texts that were found, their events, and `upto` as the progress of the run; None ends the run.

    A customer that has changed since it was read keeps its texts. The progress then ends before this customer, so that
    the next call reads it again.
    """
    firstnames = list({each.firstname for each in found if each.firstname})
    await connection.execute(batch_state.ADD_FIRSTNAMES, firstnames)
    async with connection.transaction():
        if found:
            *columns, _ = (list(column) for column in zip(*found, strict=True))
            await connection.execute(_LOCK, columns[0])
            written = {row["id"] for row in await connection.fetch(_REWRITE, *columns)}
            changes = [Change(each.id, "updated", each.changed) for each in found if each.id in written]
            await customer_events.add(connection, "import", changes)
            changed_meanwhile = set(columns[0]) - written
            upto = min(changed_meanwhile) - 1 if changed_meanwhile else upto
        await connection.execute("UPDATE customer_rereads SET last_id = $1", upto)


# An import that completes during a run gets its own run afterwards. The hour covers transactions that were open at
# the beginning of the last run: none is open for so long.
_BEGIN = """
UPDATE customer_rereads r SET
    import_id = latest.id, last_id = 0, rule_version = $1, begun_at = now(),
    since = CASE WHEN r.rule_version = $1 THEN r.begun_at - interval '1 hour' END
FROM (
    SELECT id FROM imports WHERE status = 'completed' AND (kind = 'full' OR kind = 'changes' AND read > 0)
    ORDER BY requested_at DESC LIMIT 1
) AS latest
WHERE r.last_id IS NULL AND r.import_id IS DISTINCT FROM latest.id
"""

_UPTO = "SELECT max(id) FROM (SELECT id FROM customers WHERE id > $1 ORDER BY id LIMIT $2) AS part"


def _unusual_name(column: str) -> str:
    return f"({column} !~ '^{texts.PLAIN}$' OR {column} <> btrim({column}) OR {column} = '')"


_HAS_MAILBOX_IN_CAPITALS = f"""
c.email <> lower(c.email) AND lower(split_part(c.email, '@', 1)) IN ({", ".join(map(repr, texts.LOWER_CASE_MAILBOXES))})
"""

# Only rows with unusual texts are fetched; there may be millions of others.
_UNUSUAL = f"""
SELECT c.id, c.version, f.name AS firstname, c.lastname, c.email
FROM customers c
LEFT JOIN LATERAL (SELECT name FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
WHERE c.id > $1 AND c.id <= $2 AND ($3::timestamptz IS NULL OR c.updated_at >= $3)
    AND ({_unusual_name("f.name")} OR {_unusual_name("c.lastname")} OR c.email !~ '^{texts.PLAIN_EMAIL}$'
        OR {_HAS_MAILBOX_IN_CAPITALS})
ORDER BY c.id LIMIT $4
"""

_LOCK = "SELECT FROM customers WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"

_REWRITE = """
UPDATE customers c SET
    firstname_id = f.id, lastname = n.lastname, email = n.email,
    version = c.version + 1, updated_at = statement_timestamp()
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])
    AS n (id, version, firstname, lastname, email)
LEFT JOIN firstnames f ON f.name = n.firstname
WHERE c.id = n.id AND c.version = n.version
RETURNING c.id
"""
