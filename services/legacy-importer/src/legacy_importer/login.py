"""Connects to vAptekeSync and logs in. When that fails, finds out why."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from legacy_importer import legacy_errors, odbc_driver, tls_diagnosis
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import CauseUnknown, DatabaseClosed, LegacyError, LoginRefused
from legacy_importer.settings import LegacySettings

_STATE = "SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?"


@asynccontextmanager
async def connect(settings: LegacySettings) -> AsyncIterator[Connection]:
    """Open a connection to vAptekeSync for the block, and close it afterwards.

    Raises LegacyError when no connection can be opened; the text names the cause as far as it can be found. Errors of
    the block pass through.
    """
    connection = await _open_or_explain(settings)
    try:
        yield connection
    finally:
        await connection.close()


async def _open_or_explain(settings: LegacySettings) -> Connection:
    """Open a connection, for the caller to close. Raises LegacyError.

    If opening fails and the driver does not report the cause, find the cause. If the database turns out to be online,
    try once more: a second refusal means that the login has no user in the database.
    """
    is_freetds = odbc_driver.is_freetds(settings.vaptekesync_driver)
    try:
        return await _open(settings)
    except (DatabaseClosed, LoginRefused) as refusal:
        if isinstance(refusal, LoginRefused) and not is_freetds:
            raise
        await _explain(settings, refusal)
    except CauseUnknown as error:
        raise (await tls_diagnosis.tls_error(settings) if is_freetds else None) or error from None
    try:  # the database is online: it may have come online just now
        return await _open(settings)
    except (DatabaseClosed, LoginRefused):
        raise legacy_errors.no_user_in_database(settings) from None


async def _open(settings: LegacySettings) -> Connection:
    connection = Connection(settings)
    try:
        await connection.open()
    except BaseException:
        await connection.close()
        raise
    return connection


async def _explain(settings: LegacySettings, refusal: LegacyError) -> None:
    """Find out why the database was refused: raise the cause, or return if the database is online in multi-user mode.

    The state of the database is read in the database `master`, which every login may open. Raises `refusal` if that
    fails.
    """
    try:
        master = await _open(settings.model_copy(update={"vaptekesync_db": "master"}))
        try:
            states = await master.fetch(_STATE, settings.vaptekesync_db)
        finally:
            await master.close()
    except LegacyError:
        raise refusal from None
    if cause := legacy_errors.database_closed(states, settings):
        raise cause
