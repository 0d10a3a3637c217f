"""After a completed import the customers' texts are read by this release's rule, and those that differ are mended.

An earlier release kept other forms of names and addresses, which no filter finds. Imports mend them only where the
mirror holds the same text. Here every customer is read once per version of the rule, and again when it has changed
since: a process of the earlier release may have written it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import texts
from vapteke_shared.postgres.retries import retry_conflicts
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause

from customers_api import leader
from customers_api.customers import customer_events
from customers_api.imports import legacy_customers
from customers_api.imports.reread_texts import READERS, healed

_SCANNED_ROWS = 5_000
_READ_ROWS = 100  # of those, the ones with more than plain letters; the most that are locked at once
_SHARE = 0.2  # of the time, so that other writers do not wait
_EVERY_SECONDS = 1.0


class Healed(NamedTuple):
    """A customer's texts as they should be, if it still has this version."""

    id: int
    version: int
    firstname: str | None
    lastname: str | None
    email: str | None
    changed: str


async def run(pool: asyncpg.Pool, health: Health, stopping: asyncio.Event) -> None:
    """In one of all processes; a loop of its own, so that no verdict waits for it."""

    async def lead(connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            started = time.monotonic()
            more = await go_on(connection)
            health.report_ready("texts")
            resting = (time.monotonic() - started) * (1 / _SHARE - 1)
            await pause(stopping, min(resting, _EVERY_SECONDS) if more else _EVERY_SECONDS)

    await leader.lead(pool, health, "texts", lead, stopping)


@retry_conflicts
async def go_on(connection: asyncpg.Connection) -> bool:
    """Read the next customers, from where the last call ended; whether there may be more. Safe to repeat."""
    await connection.execute(_BEGIN, texts.VERSION)
    last_id, since = await connection.fetchrow("SELECT last_id, since FROM customer_rereads")
    if last_id is None:
        return False
    upto = await connection.fetchval(_UPTO, last_id, _SCANNED_ROWS)
    rows = await connection.fetch(_UNUSUAL, last_id, upto, since, _READ_ROWS)
    if len(rows) == _READ_ROWS:
        upto = rows[-1]["id"]
    await _write(connection, [found for row in rows if (found := _healed(row)).changed != "[]"], upto)
    return True


def _healed(row: Mapping[str, Any]) -> Healed:
    now = {field: healed(field, row[field]) for field in READERS}
    changed = [field for field in READERS if now[field] != row[field]]
    return Healed(row["id"], row["version"], **now, changed=msgspec.json.encode(changed).decode())


async def _write(connection: asyncpg.Connection, found: Sequence[Healed], upto: int | None) -> None:
    """Those who have changed meanwhile are the next to be read."""
    await legacy_customers.add_missing_firstnames(connection, {each.firstname for each in found if each.firstname})
    async with connection.transaction():
        if found:
            columns = [list(column) for column in zip(*found, strict=True)]
            await connection.execute(_LOCK, columns[0])
            overtaken = set(columns[0]) - {row["id"] for row in await connection.fetch(_HEAL, *columns)}
            upto = min(overtaken) - 1 if overtaken else upto
        await connection.execute("UPDATE customer_rereads SET last_id = $1", upto)


# An import that completes meanwhile has its turn when this one is over. No transaction is open for an hour.
_BEGIN = """
UPDATE customer_rereads r SET
    import_id = latest.id, last_id = 0, rule_version = $1, begun_at = now(),
    since = CASE WHEN r.rule_version = $1 THEN r.begun_at - interval '1 hour' END
FROM (SELECT id FROM imports WHERE status = 'completed' ORDER BY requested_at DESC LIMIT 1) AS latest
WHERE r.last_id IS NULL AND r.import_id IS DISTINCT FROM latest.id
"""

_UPTO = "SELECT max(id) FROM (SELECT id FROM customers WHERE id > $1 ORDER BY id LIMIT $2) AS part"


def _unusual_name(column: str) -> str:
    return f"({column} !~ '^{texts.PLAIN}$' OR {column} <> btrim({column}) OR {column} = '')"


# Postgres alone looks at those with plain letters, of whom there may be millions.
_UNUSUAL = f"""
SELECT c.id, c.version, f.name AS firstname, c.lastname, c.email
FROM customers c
LEFT JOIN LATERAL (SELECT name FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
WHERE c.id > $1 AND c.id <= $2 AND ($3::timestamptz IS NULL OR c.updated_at >= $3)
    AND ({_unusual_name("f.name")} OR {_unusual_name("c.lastname")} OR c.email !~ '^{texts.PLAIN_EMAIL}$')
ORDER BY c.id LIMIT $4
"""

_LOCK = "SELECT FROM customers WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"

_CHANGES = "(SELECT id AS customer_id, 'updated' AS kind, changed FROM healed)"
_HEAL = f"""
WITH healed AS (
    UPDATE customers c SET
        firstname_id = f.id, lastname = n.lastname, email = n.email,
        version = c.version + 1, updated_at = statement_timestamp()
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::json[])
        AS n (id, version, firstname, lastname, email, changed)
    LEFT JOIN firstnames f ON f.name = n.firstname
    WHERE c.id = n.id AND c.version = n.version
    RETURNING c.*, n.changed
),
told AS ({customer_events.insert("'import'", _CHANGES, "healed")})
SELECT id FROM healed
"""
