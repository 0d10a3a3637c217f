"""Applies legacy customers: a batch of events becomes phones, first names, customers and mirror rows.

Statements run one after another in the caller's transaction, each on the whole batch. The caller has locked the offsets
and the import's row; phones and then customers are locked here (docs/design.md, "Transactions").
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from vapteke_shared.contract import phones
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected
from vapteke_shared.postgres.retries import ChangedMeanwhile

from customers_api.customers import customer_events
from customers_api.imports import kept_texts
from customers_api.imports.decoding import LegacyEvent

Incoming = tuple[int, LegacyEvent]
"""The partition of the event's record, and the event."""


async def prepare(connection: asyncpg.Connection) -> None:
    """Create the session's temporary tables, once per connection."""
    await connection.execute(_TEMPORARY)


async def add_missing_names(connection: asyncpg.Connection, events: Sequence[LegacyEvent]) -> None:
    """Insert missing phones and first names, before the transaction of the batch. Unused ones are harmless."""
    read = [event for event in events if isinstance(event, LegacyCustomerRead)]
    numbers = [phones.split(digits) for digits in {event.phone for event in read}]
    await connection.execute(_ADD_PHONES, [p.code for p in numbers], [p.number for p in numbers])
    await connection.execute(ADD_FIRSTNAMES, list({event.firstname for event in read if event.firstname}))


async def apply(connection: asyncpg.Connection, import_id: UUID, incoming: Sequence[Incoming]) -> None:
    """Apply and count events of one import in the caller's transaction. Each legacy row has at most one event."""
    rows = [_row(partition, event) for partition, event in incoming]
    try:
        await connection.copy_records_to_table("arrivals", records=rows, schema_name="pg_temp")
    except (OverflowError, TypeError, ValueError) as error:  # asyncpg cannot encode a value
        raise asyncpg.DataError(type(error).__name__) from None
    overlapping = await connection.fetchval(_OVERLAPPING, import_id)
    await connection.execute(_CLASSIFY, import_id, overlapping)
    if await connection.fetchval("SELECT EXISTS (SELECT FROM incoming WHERE applies)"):
        await connection.execute(_LOCK_PHONES)
        await connection.execute(_LOCK_CUSTOMERS)
        if await connection.fetchval(_UNLOCKED):
            raise ChangedMeanwhile
        if kept := kept_texts.find(await connection.fetch(kept_texts.CHANGED)):
            await connection.execute(kept_texts.KEEP, [key for key, _ in kept], [field for _, field in kept])
        for statement in (_SKIP, _LINK, _OWN, _DECIDE, _LOSE, _CREATE, _CHANGE):
            await connection.execute(statement)
        await connection.execute(_MIRROR, import_id)
        await connection.execute(_ADD_EVENTS)
    await connection.execute(_READINGS, import_id)
    await connection.execute(_REJECTIONS, import_id)
    await connection.execute(_COUNT, import_id)


def _row(partition: int, event: LegacyEvent) -> tuple[Any, ...]:
    start = (partition, event.chunk, event.attempt, event.number, event.legacy_id, event.read_at)
    if isinstance(event, LegacyCustomerRejected):
        return (*start, True, _json(event.reasons), *([None] * 8))
    return (
        *start,
        False,
        _json(event.unusable),
        event.phone,
        event.firstname,
        event.lastname,
        event.email,
        event.birthday,
        event.gender,
        event.city_id,
        event.last_auth_at,
    )


def _json(reasons: dict[Any, str] | None) -> str | None:
    return msgspec.json.encode(reasons).decode() if reasons else None


# arrivals: the batch as it arrived. asyncpg turns the first and the last day and instant into infinity, which consumers
# of customer events could not read. incoming: each row compared with its mirror row; applies: it writes; is_new: its
# legacy row was never seen; links: it joins an existing customer; claims: it changes who may hold a phone; kept: texts
# of the customer that stay (kept_texts). owners: the new holder of each phone that is decided. losers: customers that
# lose a phone. changes: the events to write.
_TEMPORARY = """
CREATE TEMP TABLE arrivals (
    partition int, chunk int, attempt uuid, number bigint, legacy_id bigint,
    read_at timestamptz CHECK (isfinite(read_at)), rejected bool, reasons jsonb, digits text, firstname text,
    lastname text, email text, birthday date CHECK (isfinite(birthday)), gender text, city_id bigint,
    last_auth_at timestamptz CHECK (isfinite(last_auth_at))
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE incoming (
    partition int, chunk int, attempt uuid, number bigint, legacy_id bigint, read_at timestamptz, rejected bool,
    reasons jsonb, phone_id bigint, firstname text, lastname text, email text, birthday date, gender text,
    city_id bigint, last_auth_at timestamptz, customer_id bigint, old_phone_id bigint, class text, applies bool,
    is_new bool, claims bool, links bool DEFAULT false, kept text[] DEFAULT '{}'
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE locked_phones (id bigint) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE owners (phone_id bigint, customer_id bigint) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE losers (customer_id bigint) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE changes (customer_id bigint, kind text, changed json) ON COMMIT DELETE ROWS;
"""

_NO_BIRTHDAY = "DATE '1900-01-01'"
"""The date that SQL Server makes of an empty text."""

_ADD_PHONES = """
INSERT INTO phones (code, number)
SELECT code, number FROM unnest($1::text[], $2::text[]) AS wanted (code, number)
WHERE NOT EXISTS (SELECT FROM phones p WHERE p.digits = wanted.code || wanted.number)
ORDER BY code || number ON CONFLICT DO NOTHING
"""

ADD_FIRSTNAMES = """
INSERT INTO firstnames (name)
SELECT name FROM unnest($1::text[]) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM firstnames f WHERE f.name = wanted.name)
ORDER BY name ON CONFLICT DO NOTHING
"""

# A clock that is a day wrong would have caused a warning, so nobody can have signed in later than that.
_TOMORROW = "now() + interval '1 day'"
_PAST = "BETWEEN '1900-01-02' AND now()"
"""Neither in the future nor one of the instants that stand for no sign-in."""
_FAR_AHEAD = f"coalesce(c.last_auth_at > {_TOMORROW}, false)"

# Ranges of which another attempt has read rows. They are rare, and only their rows need the expensive comparison.
_OVERLAPPING = """
SELECT coalesce(array_agg(DISTINCT r.chunk), '{}') FROM import_readings r
JOIN (SELECT DISTINCT chunk, attempt FROM arrivals) AS e ON e.chunk = r.chunk AND e.attempt <> r.attempt
WHERE r.import_id = $1
"""

# The reasons for rejecting a phone at the time when mirror rows had no dispatch numbers.
_OLD_REASONS = "('missing', 'not_digits', 'too_short', 'too_long', 'no_country_code')"

# The mirror names a phone that was never valid: today's rule rejects it, or an older rule read it from a text that
# today's rule rejects.
_NO_NUMBER = f"""
EXISTS (
    SELECT FROM phones w WHERE w.id = m.phone_id
    AND (w.code = '7' AND length(w.digits) <> 11 OR m.number IS NULL AND e.reasons ->> 'phone' NOT IN {_OLD_REASONS})
)
"""

# Dispatch numbers are ours and ascend over all imports. `read_at` comes from vAptekeSync's clock and only decides
# between attempts at one dispatch. A dispatch without a number comes from a process of the previous release: then the
# unfinished import is later than all others.
_NEWER = """
CASE
    WHEN e.number <> m.number THEN e.number > m.number
    WHEN e.number IS NOT NULL AND m.number IS NULL OR m.changed_in <> $1 THEN true
    ELSE e.read_at >= m.read_at
END
"""

# An unusable value counts as equal: the mirror's value replaces it, unless that would be unusable today too. The class
# depends only on the row and its mirror row.
_CLASSIFY = f"""
INSERT INTO incoming
SELECT
    partition, chunk, attempt, number, legacy_id, read_at, rejected, reasons, phone_id, firstname, lastname, email,
    birthday, gender, city_id, last_auth_at,
    CASE WHEN applies AND is_new THEN nextval('customers_id_seq') ELSE customer_id END,
    old_phone_id,
    CASE
        WHEN deleted THEN 'skipped'
        WHEN rejected THEN 'rejected'
        WHEN applies AND is_new THEN 'created'
        WHEN changed_in = $1 THEN changed_as
        WHEN applies THEN 'updated'
        ELSE 'unchanged'
    END,
    applies, is_new, applies AND (is_new OR claims)
FROM (
    SELECT
        e.partition, e.chunk, e.attempt, e.number, e.legacy_id, e.read_at, e.rejected, e.reasons,
        v.phone_id, v.firstname, v.lastname, v.email, v.birthday, v.gender, v.city_id, v.last_auth_at,
        m.customer_id, m.phone_id AS old_phone_id, m.changed_in, m.changed_as,
        c.deleted_at IS NOT NULL AS deleted,
        m.legacy_id IS NULL AS is_new,
        (v.phone_id, v.last_auth_at) IS DISTINCT FROM (m.phone_id, m.last_auth_at) AS claims,
        c.deleted_at IS NULL AND CASE WHEN m.legacy_id IS NULL THEN NOT e.rejected ELSE (
            {_FAR_AHEAD} OR
            (v.phone_id, v.firstname, v.lastname, v.email, v.birthday, v.gender, v.city_id, v.last_auth_at)
            IS DISTINCT FROM
            (m.phone_id, m.firstname, m.lastname, m.email, m.birthday, m.gender, m.city_id, m.last_auth_at)
        ) AND {_NEWER}
        END AND NOT (e.chunk = ANY ($2::int[]) AND EXISTS (
            SELECT FROM import_readings r
            WHERE r.import_id = $1 AND r.chunk = e.chunk AND r.read_at > e.read_at AND e.legacy_id = ANY (r.legacy_ids)
        )) AS applies
    FROM arrivals e
    LEFT JOIN LATERAL (SELECT * FROM phones p WHERE p.digits = e.digits LIMIT 1) AS p ON true
    LEFT JOIN LATERAL (SELECT * FROM legacy_customers m WHERE m.legacy_id = e.legacy_id LIMIT 1) AS m ON true
    LEFT JOIN LATERAL (SELECT deleted_at, last_auth_at FROM customers c WHERE c.id = m.customer_id LIMIT 1) AS c ON true
    CROSS JOIN LATERAL (SELECT
        CASE WHEN NOT e.rejected THEN p.id WHEN NOT {_NO_NUMBER} THEN m.phone_id END AS phone_id,
        CASE WHEN e.rejected OR e.reasons ? 'firstname' THEN m.firstname ELSE e.firstname END AS firstname,
        CASE WHEN e.rejected OR e.reasons ? 'lastname' THEN m.lastname ELSE e.lastname END AS lastname,
        CASE WHEN e.rejected OR e.reasons ? 'email' THEN m.email ELSE e.email END AS email,
        CASE WHEN e.rejected OR e.reasons ? 'birthday' THEN nullif(m.birthday, {_NO_BIRTHDAY})
            ELSE e.birthday END AS birthday,
        CASE WHEN e.rejected OR e.reasons ? 'gender' THEN m.gender ELSE e.gender END AS gender,
        CASE WHEN e.rejected OR e.reasons ? 'city_id' THEN m.city_id ELSE e.city_id END AS city_id,
        CASE WHEN e.rejected OR e.reasons ? 'last_auth_at' OR e.last_auth_at > {_TOMORROW}
            THEN CASE WHEN m.last_auth_at {_PAST} THEN m.last_auth_at END
            ELSE e.last_auth_at END AS last_auth_at
    ) AS v
) AS compared
"""

# The phones whose holder is decided again: the old and the new one of the mirror row, and the customer's own.
_CONCERNED = """
    SELECT phone_id AS id FROM incoming WHERE claims AND phone_id IS NOT NULL
    UNION SELECT old_phone_id FROM incoming WHERE claims AND old_phone_id IS NOT NULL
    UNION SELECT c.phone_id FROM incoming i JOIN customers c ON c.id = i.customer_id
        WHERE i.claims AND NOT i.is_new AND c.phone_id IS NOT NULL
"""

_LOCK_PHONES = f"""
WITH locked AS (SELECT id FROM phones WHERE id IN ({_CONCERNED}) ORDER BY id FOR NO KEY UPDATE)
INSERT INTO locked_phones SELECT id FROM locked
"""

# The customers that change, and all that hold or name a phone whose holder is decided.
_LOCK_CUSTOMERS = f"""
WITH concerned AS ({_CONCERNED})
SELECT FROM customers WHERE id IN (
    SELECT customer_id FROM incoming WHERE applies AND NOT is_new
    UNION SELECT c.id FROM concerned JOIN customers c ON c.phone_id = concerned.id AND c.deleted_at IS NULL
    UNION SELECT m.customer_id FROM concerned JOIN legacy_customers m ON m.phone_id = concerned.id
) ORDER BY id FOR NO KEY UPDATE
"""

# A customer's own phone may have changed while we waited for its lock.
_UNLOCKED = f"SELECT EXISTS ({_CONCERNED} EXCEPT SELECT id FROM locked_phones)"

# The customer was deleted through the API while we waited for its lock.
_SKIP = """
UPDATE incoming i SET class = 'skipped', applies = false, claims = false
FROM customers c WHERE c.id = i.customer_id AND c.deleted_at IS NOT NULL AND i.applies AND NOT i.is_new
"""

# A new row links to the active customer that has its phone and no legacy row. Of several rows the greatest claimant
# links.
_LINK = """
UPDATE incoming i SET customer_id = c.id, links = true
FROM (
    SELECT DISTINCT ON (phone_id) legacy_id, phone_id FROM incoming WHERE applies AND is_new
    ORDER BY phone_id, last_auth_at DESC NULLS LAST, legacy_id DESC
) AS greatest
JOIN customers c ON c.phone_id = greatest.phone_id AND c.deleted_at IS NULL
WHERE i.legacy_id = greatest.legacy_id
    AND NOT EXISTS (SELECT FROM legacy_customers m WHERE m.customer_id = c.id)
"""

# A phone set through the API counts as imported once the legacy row names it too: no new version and no event.
_OWN = """
UPDATE customers c SET phone_from = 'import' FROM incoming i
WHERE i.applies AND c.id = i.customer_id AND c.phone_from = 'api' AND c.phone_id = i.phone_id
    AND i.phone_id IS DISTINCT FROM i.old_phone_id
"""

# The state alone decides who holds a phone: the active customer for whom the API set it; otherwise the greatest
# claimant among active customers without a phone set through the API whose legacy row, as it is after this batch, names
# it.
_DECIDE = f"""
WITH concerned AS ({_CONCERNED}),
claimants AS (
    SELECT i.phone_id, i.customer_id, i.last_auth_at, i.legacy_id FROM incoming i WHERE i.applies
    UNION ALL
    SELECT m.phone_id, m.customer_id, m.last_auth_at, m.legacy_id
    FROM concerned JOIN legacy_customers m ON m.phone_id = concerned.id
    WHERE NOT EXISTS (SELECT FROM incoming i WHERE i.legacy_id = m.legacy_id AND i.applies)
),
ranked AS (
    SELECT DISTINCT ON (claimants.phone_id) claimants.phone_id, claimants.customer_id
    FROM claimants JOIN concerned ON concerned.id = claimants.phone_id
    LEFT JOIN customers c ON c.id = claimants.customer_id
    WHERE c.deleted_at IS NULL AND c.phone_from IS DISTINCT FROM 'api'
    ORDER BY claimants.phone_id, claimants.last_auth_at DESC NULLS LAST, claimants.legacy_id DESC
)
INSERT INTO owners
SELECT concerned.id, COALESCE(holder.id, ranked.customer_id)
FROM concerned
LEFT JOIN customers holder
    ON holder.phone_id = concerned.id AND holder.deleted_at IS NULL AND holder.phone_from = 'api'
LEFT JOIN ranked ON ranked.phone_id = concerned.id
"""

_LOSE = """
WITH lost AS (
    UPDATE customers c SET phone_id = NULL, phone_from = NULL
    FROM owners o
    WHERE c.phone_id = o.phone_id AND c.deleted_at IS NULL AND c.id IS DISTINCT FROM o.customer_id
    RETURNING c.id
)
INSERT INTO losers SELECT id FROM lost
"""

_CREATE = """
WITH created AS (
    INSERT INTO customers (
        id, phone_id, phone_from, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at, version
    )
    SELECT
        i.customer_id, o.phone_id, CASE WHEN o.phone_id IS NOT NULL THEN 'import' END, f.id, i.lastname, i.email,
        i.birthday, i.gender, i.city_id, i.last_auth_at, 1
    FROM incoming i
    LEFT JOIN owners o ON o.phone_id = i.phone_id AND o.customer_id = i.customer_id
    LEFT JOIN firstnames f ON f.name = i.firstname
    WHERE i.applies AND i.is_new AND NOT i.links
    ORDER BY i.customer_id
    RETURNING id, phone_id, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at
)
INSERT INTO changes SELECT id, 'created', array_to_json(array_remove(ARRAY[
    CASE WHEN phone_id IS NOT NULL THEN 'phone' END, CASE WHEN firstname_id IS NOT NULL THEN 'firstname' END,
    CASE WHEN lastname IS NOT NULL THEN 'lastname' END, CASE WHEN email IS NOT NULL THEN 'email' END,
    CASE WHEN birthday IS NOT NULL THEN 'birthday' END, CASE WHEN gender IS NOT NULL THEN 'gender' END,
    CASE WHEN city_id IS NOT NULL THEN 'city_id' END, CASE WHEN last_auth_at IS NOT NULL THEN 'last_auth_at' END
], NULL)) FROM created
"""


def _text(name: str, ours: str, theirs: str) -> str:
    return f"""
        CASE WHEN i.legacy_id IS NULL OR '{name}' = ANY (i.kept) THEN {ours}
            WHEN i.is_new THEN coalesce({ours}, {theirs})
            WHEN i.{name} IS DISTINCT FROM m.{name} THEN {theirs} ELSE {ours} END"""


# Field by field: a value that vAptekeSync changed since the mirror row was written is taken, every other one stays. On
# the first link the legacy row only fills gaps. The last sign-in is the later of both, except one in the future.
_CHANGE = f"""
WITH changed AS (
    SELECT customer_id FROM incoming WHERE applies AND (links OR NOT is_new)
    UNION SELECT customer_id FROM losers
    UNION SELECT o.customer_id FROM owners o JOIN customers c ON c.id = o.customer_id
        WHERE c.phone_id IS DISTINCT FROM o.phone_id
),
merged AS (
    SELECT
        c AS old, c.id,
        COALESCE(o.phone_id, c.phone_id) AS phone_id,
        CASE WHEN o.phone_id IS NULL OR o.phone_id = c.phone_id AND c.phone_from = 'api' THEN c.phone_from
            ELSE 'import' END AS phone_from,
        {_text("firstname", "c.firstname_id", "f.id")} AS firstname_id,
        {_text("lastname", "c.lastname", "i.lastname")} AS lastname,
        {_text("email", "c.email", "i.email")} AS email,
        CASE WHEN i.legacy_id IS NULL THEN c.birthday WHEN i.is_new THEN COALESCE(c.birthday, i.birthday)
            WHEN m.birthday = {_NO_BIRTHDAY} AND i.birthday IS NULL THEN nullif(c.birthday, m.birthday)
            WHEN i.birthday IS DISTINCT FROM m.birthday THEN i.birthday ELSE c.birthday END AS birthday,
        CASE WHEN i.legacy_id IS NULL THEN c.gender WHEN i.is_new THEN COALESCE(c.gender, i.gender)
            WHEN i.gender IS DISTINCT FROM m.gender THEN i.gender ELSE c.gender END AS gender,
        CASE WHEN i.legacy_id IS NULL THEN c.city_id WHEN i.is_new THEN COALESCE(c.city_id, i.city_id)
            WHEN i.city_id IS DISTINCT FROM m.city_id THEN i.city_id ELSE c.city_id END AS city_id,
        CASE WHEN i.legacy_id IS NULL THEN c.last_auth_at
            WHEN i.is_new OR i.last_auth_at IS DISTINCT FROM m.last_auth_at OR {_FAR_AHEAD}
            THEN greatest(CASE WHEN c.last_auth_at {_PAST} THEN c.last_auth_at END, i.last_auth_at)
            ELSE c.last_auth_at END AS last_auth_at,
        EXISTS (SELECT FROM losers l WHERE l.customer_id = c.id) AS lost
    FROM changed
    JOIN customers c ON c.id = changed.customer_id
    LEFT JOIN incoming i ON i.customer_id = c.id AND i.applies
    LEFT JOIN legacy_customers m ON m.legacy_id = i.legacy_id
    LEFT JOIN firstnames f ON f.name = i.firstname
    LEFT JOIN owners o ON o.customer_id = c.id
),
compared AS (
    SELECT merged.*, array_remove(ARRAY[
        CASE WHEN lost OR phone_id IS DISTINCT FROM (old).phone_id THEN 'phone' END,
        CASE WHEN firstname_id IS DISTINCT FROM (old).firstname_id THEN 'firstname' END,
        CASE WHEN lastname IS DISTINCT FROM (old).lastname THEN 'lastname' END,
        CASE WHEN email IS DISTINCT FROM (old).email THEN 'email' END,
        CASE WHEN birthday IS DISTINCT FROM (old).birthday THEN 'birthday' END,
        CASE WHEN gender IS DISTINCT FROM (old).gender THEN 'gender' END,
        CASE WHEN city_id IS DISTINCT FROM (old).city_id THEN 'city_id' END,
        CASE WHEN last_auth_at IS DISTINCT FROM (old).last_auth_at THEN 'last_auth_at' END
    ], NULL) AS changed
    FROM merged
),
written AS (
    UPDATE customers c SET
        phone_id = n.phone_id, phone_from = n.phone_from, firstname_id = n.firstname_id, lastname = n.lastname,
        email = n.email, birthday = n.birthday, gender = n.gender, city_id = n.city_id, last_auth_at = n.last_auth_at,
        version = c.version + 1, updated_at = statement_timestamp()
    FROM compared n
    WHERE c.id = n.id AND cardinality(n.changed) > 0
    RETURNING c.id, n.changed
)
INSERT INTO changes
SELECT id, CASE WHEN 'phone' = ANY(changed) THEN 'phone_changed' ELSE 'updated' END, array_to_json(changed) FROM written
"""

_ADD_EVENTS = customer_events.insert("'import'", "changes")

_MIRROR = """
INSERT INTO legacy_customers AS m (
    legacy_id, customer_id, phone_id, firstname, lastname, email, birthday, gender, city_id, last_auth_at, read_at,
    number, changed_in, changed_as
)
SELECT
    legacy_id, customer_id, phone_id, firstname, lastname, email, birthday, gender, city_id, last_auth_at, read_at,
    number, $1, class
FROM incoming WHERE applies ORDER BY legacy_id
ON CONFLICT (legacy_id) DO UPDATE SET
    phone_id = excluded.phone_id, firstname = excluded.firstname, lastname = excluded.lastname,
    email = excluded.email, birthday = excluded.birthday, gender = excluded.gender, city_id = excluded.city_id,
    last_auth_at = excluded.last_auth_at, read_at = excluded.read_at, number = excluded.number,
    changed_in = CASE WHEN excluded.changed_as = 'rejected' THEN m.changed_in ELSE excluded.changed_in END,
    changed_as = CASE WHEN excluded.changed_as = 'rejected' THEN m.changed_as ELSE excluded.changed_as END
"""

_READINGS = """
INSERT INTO import_readings (import_id, chunk, attempt, read_at, legacy_ids)
SELECT $1, chunk, attempt, max(read_at), array_agg(legacy_id ORDER BY legacy_id) FROM incoming
GROUP BY chunk, attempt ORDER BY chunk, attempt
"""

_REJECTIONS = """
INSERT INTO import_rejections (import_id, chunk, attempt, legacy_id, kind, field, reason, customer_id)
SELECT
    $1, i.chunk, i.attempt, i.legacy_id, CASE WHEN i.rejected THEN 'row' ELSE 'field' END, r.key, r.value,
    i.customer_id
FROM incoming i CROSS JOIN LATERAL jsonb_each_text(i.reasons) AS r
WHERE i.reasons IS NOT NULL AND i.class <> 'skipped'
"""

_COUNT = """
INSERT INTO import_counts AS n (import_id, chunk, attempt, partition, created, updated, unchanged, skipped, rejected)
SELECT
    $1, chunk, attempt, partition,
    count(*) FILTER (WHERE class = 'created'), count(*) FILTER (WHERE class = 'updated'),
    count(*) FILTER (WHERE class = 'unchanged'), count(*) FILTER (WHERE class = 'skipped'),
    count(*) FILTER (WHERE class = 'rejected')
FROM incoming GROUP BY chunk, attempt, partition ORDER BY chunk, attempt, partition
ON CONFLICT (import_id, chunk, attempt, partition) DO UPDATE SET
    created = n.created + excluded.created, updated = n.updated + excluded.updated,
    unchanged = n.unchanged + excluded.unchanged, skipped = n.skipped + excluded.skipped,
    rejected = n.rejected + excluded.rejected
"""
