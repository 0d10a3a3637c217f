"""Alembic's environment for all services: it runs a service's migrations in one transaction, in its own schema only.

The version table is in that schema too. Runs of different processes wait for each other. Afterwards the service's role
may read and write the rows of all tables.
"""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from vapteke_shared.postgres.tables import Schema

_LOCK = 0x76617074  # an arbitrary number that nothing else uses in this database
_SCHEMA: Schema = context.config.attributes["schema"]


def _ours(name: str | None, kind: str, _: Any) -> bool:
    return kind != "schema" or name == _SCHEMA.name


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=_SCHEMA.metadata,
        version_table_schema=_SCHEMA.name,
        include_schemas=True,
        include_name=_ours,
    )
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        if not connection.scalar(text("SELECT true FROM pg_namespace WHERE nspname = :name"), {"name": _SCHEMA.name}):
            connection.execute(text(f"CREATE SCHEMA {_SCHEMA.name}"))
        context.run_migrations()
        _grant(connection, context.config.attributes["app_user"])


def _grant(connection: Connection, app_user: str) -> None:
    """Let the service's role read and write the rows of the schema. The role owns nothing."""
    role = connection.dialect.identifier_preparer.quote(app_user)
    for grant in (
        f"GRANT USAGE ON SCHEMA {_SCHEMA.name} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {_SCHEMA.name} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {_SCHEMA.name} TO {role}",
    ):
        connection.execute(text(grant))


async def _main() -> None:
    given = context.config.attributes
    engine = create_async_engine("postgresql+asyncpg://", hide_parameters=True, async_creator=given["connect"])
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_main())
