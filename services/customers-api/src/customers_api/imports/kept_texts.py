"""Which texts of a customer an import must keep, because vAptekeSync has not changed them.

An earlier release stored other forms of names and addresses: with invisible characters, line breaks, other normal
forms and `xn--` domains. If the mirror still holds such a text, it differs from the row, but vAptekeSync has not
changed it. Then a text that the API has written since stays, and a customer that still has the mirror's text gets the
new form.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from customers_api.imports.text_rule import FIELDS, normalised


def find(rows: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Legacy id and field of each text to keep. `rows` are those of CHANGED."""
    return [(row["legacy_id"], field) for row in rows for field in FIELDS if _is_kept(row, field)]


def _is_kept(row: Mapping[str, Any], field: str) -> bool:
    return is_kept(field, row[field], row[f"mirrored_{field}"], row[f"our_{field}"])


def is_kept(field: str, theirs: str | None, mirrored: str | None, ours: str | None) -> bool:
    """Whether row and mirror are two forms of one text, and the customer has another text.

    Either form may be the older one: importers of two releases run side by side during an upgrade.
    """
    known = normalised(field, mirrored)
    return theirs != mirrored and normalised(field, theirs) == known and normalised(field, ours) != known


CHANGED = """
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
"""Rows of `incoming` whose texts differ from the mirror. Their customers must be locked."""

KEEP = """
UPDATE incoming i SET kept = k.fields
FROM (
    SELECT legacy_id, array_agg(field) AS fields FROM unnest($1::bigint[], $2::text[]) AS k (legacy_id, field)
    GROUP BY legacy_id
) AS k
WHERE k.legacy_id = i.legacy_id
"""
"""Marks texts to keep in `incoming`: $1 legacy ids, $2 fields."""
