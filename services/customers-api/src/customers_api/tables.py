"""All tables of customers-api. Import SCHEMA from here: its metadata is complete only with every table imported."""

from vapteke_shared.postgres.tables import StoredOffset

from customers_api.customers import tables as customers
from customers_api.imports import row_tables as import_rows
from customers_api.imports import tables as imports
from customers_api.outbox import tables as outbox
from customers_api.schedule import tables as schedule
from customers_api.schema import SCHEMA, Table

__all__ = ["SCHEMA", "StoredOffsetRow", "customers", "import_rows", "imports", "outbox", "schedule"]


class StoredOffsetRow(Table, StoredOffset, table=True):
    __tablename__ = "consumed_offsets"
