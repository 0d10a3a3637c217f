"""Migrations: runs the revisions of a service in the Alembic environment that all services share (`env.py`)."""

import time
from functools import partial
from importlib.resources import files

import alembic.command
import asyncpg
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from vapteke_shared.postgres import sessions
from vapteke_shared.postgres.outages import is_outage
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import connection_errors, logs
from vapteke_shared.process.connection_errors import Misconfigured
from vapteke_shared.process.settings import PostgresOwnerSettings, load

log = logs.get(__name__)


def main(schema: Schema) -> None:
    """Run the command `migrate` of a service, with settings from the environment.

    Returns once the schema is up to date. Raises SystemExit if a setting is invalid or the migration fails.
    """
    settings = load(PostgresOwnerSettings)
    logs.configure(settings.log_level)
    upgrade(settings, schema)


def upgrade(settings: PostgresOwnerSettings, schema: Schema, wait_seconds: float = 60) -> None:
    """Bring the schema up to date, as its owner. Safe when two processes do so at the same time.

    Retries for `wait_seconds` during an outage, such as the start of Postgres. Raises SystemExit with a text for the
    operator after that time, or at once for a Misconfigured or any error of Postgres that is not an outage.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            alembic.command.upgrade(config(settings, schema), "head")
        except (OSError, asyncpg.PostgresError, DBAPIError) as error:
            fault = _cause(error)
            if isinstance(fault, Misconfigured) or not is_outage(fault) or time.monotonic() > deadline:
                raise SystemExit(connection_errors.describe(fault, "Postgres rejects the migration")) from None
            time.sleep(0.5)
        else:
            log.info("the schema is up to date", schema=schema.name)
            return


def _cause(error: Exception) -> BaseException:
    """The error of asyncpg that SQLAlchemy has wrapped in two others, or the given error if it wraps none."""
    return (isinstance(error, DBAPIError) and error.orig and error.orig.__cause__) or error


def outdated(schema: Schema) -> set[str | None]:
    """The versions of the schema that are too old for this release: a schema with one of them must be migrated first.

    None is among them, for a schema without a version. A version that this release does not know is not, because it
    belongs to a later release.
    """
    scripts = ScriptDirectory.from_config(_scripts(schema))
    return {None, *(each.revision for each in scripts.walk_revisions())} - {scripts.get_current_head()}


def config(settings: PostgresOwnerSettings, schema: Schema) -> Config:
    """The configuration for Alembic's commands."""
    made = _scripts(schema)
    user = settings.postgres_owner_user, settings.postgres_owner_password.get_secret_value()
    made.attributes["connect"] = partial(sessions.connect, settings, user)
    made.attributes["schema"] = schema
    made.attributes["app_user"] = settings.postgres_user
    return made


def _scripts(schema: Schema) -> Config:
    made = Config()
    made.set_main_option("path_separator", "os")
    made.set_main_option("script_location", str(files("vapteke_shared.postgres") / "migrations"))
    made.set_main_option("version_locations", str(files(schema.package) / "migrations"))
    return made
