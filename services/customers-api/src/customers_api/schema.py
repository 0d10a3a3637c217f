"""The Postgres schema of customers-api. Its tables are in the package of their subject."""

from typing import ClassVar

from sqlalchemy import MetaData
from sqlmodel import SQLModel
from vapteke_shared.postgres.tables import Schema

SCHEMA = Schema("customers", service="customers-api")


class Table(SQLModel):
    metadata: ClassVar[MetaData] = SCHEMA.metadata
