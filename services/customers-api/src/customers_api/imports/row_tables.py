"""Tables of imports of kind `rows`: which rows were requested, and what became of each."""

from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Index, Integer, Text, text
from sqlmodel import Field
from vapteke_shared.postgres.tables import identity

from customers_api.schema import Table

NAMED_MEANWHILE: Final = """
SELECT r.legacy_id FROM imports i
JOIN imports u ON u.has_details AND u.kind = 'rows'
    AND coalesce(u.finished_at >= coalesce(i.started_at, i.requested_at), true)
JOIN import_rows r ON r.import_id = u.id WHERE i.id = $1 AND r.legacy_id IS NOT NULL
"""
"""SQL: the legacy ids that imports of single rows have named while the import $1 was unfinished.

Such a row may have been read by the smaller dispatch number later, so nothing lasting follows from what $1 has read of
it: it is not taken for gone, its range is read again, and it is no difference.
"""


class ImportRowRow(Table, table=True):
    """A row that an import of kind `rows` reads, or a customer or phone of the request for which no row is known.

    `position` counts from 0 what the request named; a phone may name several rows. `chunk` is the task that reads the
    row. `legacy_id` and `chunk` are null if no row is known, and `customer_id` if the request did not name one.
    """

    __tablename__ = "import_rows"
    __table_args__ = (Index("import_rows_import_id_chunk_idx", "import_id", "chunk"),)

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    position: int = Field(sa_type=Integer)
    chunk: int | None = Field(None, sa_type=Integer)
    legacy_id: int | None = Field(None, sa_type=BigInteger)
    customer_id: int | None = Field(None, sa_type=BigInteger)


class ImportOutcomeRow(Table, table=True):
    """What became of a row that one attempt has read: its class, and which fields it has changed."""

    __tablename__ = "import_outcomes"
    __table_args__ = (Index("import_outcomes_import_id_legacy_id_idx", "import_id", "legacy_id", "id"),)

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int = Field(sa_type=Integer)
    attempt: UUID
    legacy_id: int = Field(sa_type=BigInteger)
    outcome: str = Field(sa_type=Text)
    fields: list[str] = Field(sa_type=ARRAY(Text), sa_column_kwargs={"server_default": text("'{}'")})
