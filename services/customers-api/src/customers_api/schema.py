"""The Postgres schema of customers-api, and the base class of its tables. Each package defines its own tables.

To get SCHEMA with all tables, import it from `customers_api.tables`.
"""

from typing import ClassVar

from sqlalchemy import MetaData
from sqlmodel import SQLModel
from vapteke_shared.postgres.tables import Schema

SCHEMA = Schema("customers", service="customers-api")


class Table(SQLModel):
    metadata: ClassVar[MetaData] = SCHEMA.metadata
