"""Texts that this release reads differently from an earlier one, though vAptekeSync has not changed them.

An earlier release kept invisible characters, line breaks, other normal forms and `xn--` domains. When the mirror still
holds such a text, the difference from the new reading is no change on the legacy side: what the API has written since
stays, and a customer that still has the mirror's text gets the new reading.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import asyncpg
from vapteke_shared.contract import limits, texts
from vapteke_shared.contract.texts import EmailInvalid


async def note_kept(connection: asyncpg.Connection) -> None:
    """Write to `kept` of the table `incoming` which texts of each customer stay. The customers must be locked."""
    kept = [(row["legacy_id"], field) for row in await connection.fetch(_CHANGED) for field in _kept(row)]
    if kept:
        await connection.execute(_KEEP, [key for key, _ in kept], [field for _, field in kept])


def _kept(row: Mapping[str, Any]) -> list[str]:
    return [field for field in READERS if is_kept(field, row[field], row[f"mirrored_{field}"], row[f"our_{field}"])]


def is_kept(field: str, theirs: str | None, mirrored: str | None, ours: str | None) -> bool:
    """Whether the new reading and the mirror say the same in other characters, and the customer's text something else.

    Either may be the older one: importers of two releases work side by side in an upgrade.
    """
    said = _read(field, mirrored)
    return theirs != mirrored and _read(field, theirs) == said and _read(field, ours) != said


def _read(field: str, text: str | None) -> str | None:
    """As this release reads it."""
    return None if text is None else READERS[field](text)


def healed(field: str, text: str | None) -> str | None:
    """As this release would keep what an earlier one kept; a text that it refuses stays."""
    read = _read(field, text)
    return text if read and _is_refused(field, read) else read


def _is_refused(field: str, read: str) -> bool:
    if field != "email":
        return len(read) > limits.NAME_CHARACTERS
    try:
        texts.email(read)
    except EmailInvalid:
        return True
    return len(read) > limits.EMAIL_CHARACTERS


def _name(text: str) -> str | None:
    return texts.cleaned(text) or None


def _email(text: str) -> str | None:
    cleaned = texts.cleaned(text)
    try:
        return texts.email(cleaned)
    except EmailInvalid:
        return cleaned or None


READERS: Final[Mapping[str, Callable[[str], str | None]]] = {"firstname": _name, "lastname": _name, "email": _email}

_CHANGED = """
SELECT
    i.legacy_id, i.firstname, i.lastname, i.email,
    m.firstname AS mirrored_firstname, m.lastname AS mirrored_lastname, m.email AS mirrored_email,
    f.name AS our_firstname, c.lastname AS our_lastname, c.email AS our_email
FROM incoming i
JOIN legacy_customers m ON m.legacy_id = i.legacy_id
JOIN customers c ON c.id = i.customer_id
LEFT JOIN firstnames f ON f.id = c.firstname_id
WHERE i.applies AND NOT i.is_new
    AND (i.firstname, i.lastname, i.email) IS DISTINCT FROM (m.firstname, m.lastname, m.email)
"""

_KEEP = """
UPDATE incoming i SET kept = k.fields
FROM (
    SELECT legacy_id, array_agg(field) AS fields FROM unnest($1::bigint[], $2::text[]) AS k (legacy_id, field)
    GROUP BY legacy_id
) AS k
WHERE k.legacy_id = i.legacy_id
"""
