"""`python -m vapteke_local.vaptekesync.seed`: turns a real SQL Server (2016 or later) into a vAptekeSync.

It creates the database, the table, the login of the importer and the made-up rows. Safe to repeat: what exists stays.
So the login keeps the password that it was created with, and a table that has rows keeps them, whatever SEED is now.
It reads the importer's variables and VAPTEKESYNC_ADMIN_PASSWORD, and optionally VAPTEKESYNC_ADMIN, CUSTOMERS and SEED.
"""

from __future__ import annotations

import json
import logging
import time
from itertools import islice

import pyodbc
from legacy_importer import connection_string
from legacy_importer.settings import LegacySettings
from pydantic import Field
from vapteke_shared.process.settings import Secret, load

from vapteke_local import people
from vapteke_local.vaptekesync.table.definition import CUSTOMERS, Table

_ROWS_PER_STATEMENT = 5_000
_WAIT_SECONDS = 120

log = logging.getLogger("vaptekesync seed")


class SeedSettings(LegacySettings):
    vaptekesync_admin: str = "sa"
    vaptekesync_admin_password: Secret
    customers: int = Field(78_553, ge=0)
    seed: int = 1


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    settings = load(SeedSettings)
    with _connected(settings, "master") as server:
        server.execute(database(settings.vaptekesync_db))
        server.execute(login(settings.vaptekesync_user, settings.vaptekesync_password.get_secret_value()))
    with _connected(settings, settings.vaptekesync_db) as server:
        server.execute(table(CUSTOMERS))
        server.execute(reader(settings.vaptekesync_user, CUSTOMERS))
        log.info("%d rows are in the table", _filled(server, settings))


def _connected(settings: SeedSettings, to: str) -> pyodbc.Connection:
    """Connects to the database `to` as the administrator.

    Tries again while the connection fails, also when the login is refused. Raises SystemExit after _WAIT_SECONDS.
    """
    admin = settings.model_copy(
        update={
            "vaptekesync_db": to,
            "vaptekesync_user": settings.vaptekesync_admin,
            "vaptekesync_password": settings.vaptekesync_admin_password,
        }
    )
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return pyodbc.connect(connection_string.build(admin), autocommit=True, timeout=5)
        except pyodbc.Error as error:
            if time.monotonic() > deadline:
                address = f"{settings.vaptekesync_host}:{settings.vaptekesync_port}"
                raise SystemExit(
                    f"the administrator cannot log in to the SQL Server at {address}: {error.args[0]}"
                ) from None
            time.sleep(2)


def _filled(server: pyodbc.Connection, settings: SeedSettings) -> int:
    """If the table is empty, inserts the made-up rows in one transaction. Returns how many rows it has then."""
    name = f"{_named(CUSTOMERS.schema)}.{_named(CUSTOMERS.name)}"
    count = int(server.execute(f"SELECT count(*) FROM {name}").fetchval())
    if count:
        return count
    server.autocommit = False
    rows = people.generate(settings.seed, settings.customers)
    for batch in iter(lambda: list(islice(rows, _ROWS_PER_STATEMENT)), []):
        server.execute(insert(CUSTOMERS), _json(batch))
        count += len(batch)
    server.commit()
    return count


def _json(rows: list[people.Person]) -> str:
    names = [column.name for column in CUSTOMERS.columns]
    return json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=_iso)


def _iso(value: object) -> str:
    text: str = value.isoformat()  # type: ignore[attr-defined]
    return text[:23]  # a datetime of SQL Server has milliseconds


def database(name: str) -> str:
    return f"IF DB_ID({_text(name)}) IS NULL CREATE DATABASE {_named(name)} COLLATE {CUSTOMERS.collation}"


def login(name: str, password: str) -> str:
    return f"IF SUSER_ID({_text(name)}) IS NULL CREATE LOGIN {_named(name)} WITH PASSWORD = {_text(password)}"


def table(made: Table) -> str:
    columns = [f"{_named(c.name)} {c.type} {'NULL' if c.nullable else 'NOT NULL'}" for c in made.columns]
    constraints = [
        f"CONSTRAINT {_named(c.name)} {c.kind} ({', '.join(map(_named, c.columns))})" for c in made.constraints
    ]
    name = f"{_named(made.schema)}.{_named(made.name)}"
    return f"IF OBJECT_ID({_text(name)}) IS NULL CREATE TABLE {name} ({', '.join([*columns, *constraints])})"


def reader(name: str, read: Table) -> str:
    """The SQL that creates the importer's database user unless it exists, and allows it to read this table only."""
    return (
        f"IF USER_ID({_text(name)}) IS NULL CREATE USER {_named(name)} FOR LOGIN {_named(name)}; "
        f"GRANT SELECT ON {_named(read.schema)}.{_named(read.name)} TO {_named(name)}"
    )


def insert(into: Table) -> str:
    """An INSERT for many rows. Its only parameter is a JSON array with one object per row, column name → value."""
    names = ", ".join(_named(column.name) for column in into.columns)
    typed = ", ".join(f"{_named(column.name)} {column.type}" for column in into.columns)
    name = f"{_named(into.schema)}.{_named(into.name)}"
    return f"INSERT INTO {name} ({names}) SELECT {names} FROM OPENJSON(?) WITH ({typed})"


def _named(name: str) -> str:
    return f"[{name.replace(']', ']]')}]"


def _text(text: str) -> str:
    return "N'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    main()
