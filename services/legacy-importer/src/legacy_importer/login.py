"""A session with vAptekeSync: its connection opened, or the cause why not found out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from legacy_importer import legacy_errors, odbc_driver, tls_diagnosis
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import CauseUnknown, DatabaseClosed, LegacyError, LoginRefused
from legacy_importer.settings import LegacySettings

_STATE = "SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?"


@asynccontextmanager
async def connect(settings: LegacySettings) -> AsyncIterator[Connection]:
    """Raises LegacyError."""
    connection = await _opened(settings)
    try:
        yield connection
    finally:
        await connection.close()


async def _opened(settings: LegacySettings) -> Connection:
    """What the drivers do not tell of a failure is asked for."""
    is_freetds = odbc_driver.is_freetds(settings.vaptekesync_driver)
    try:
        return await _open(settings)
    except (DatabaseClosed, LoginRefused) as refusal:
        if isinstance(refusal, LoginRefused) and not is_freetds:
            raise
        await _explain(settings, refusal)
    except CauseUnknown as failure:
        raise (await tls_diagnosis.failure(settings) if is_freetds else None) or failure from None
    try:  # it has come online meanwhile
        return await _open(settings)
    except (DatabaseClosed, LoginRefused):
        raise legacy_errors.not_permitted(settings) from None


async def _open(settings: LegacySettings) -> Connection:
    connection = Connection(settings)
    try:
        await connection.open()
    except BaseException:
        await connection.close()
        raise
    return connection


async def _explain(settings: LegacySettings, refusal: LegacyError) -> None:
    """Every login may enter `master`, and see there how the databases are. Raises why this one is closed, if it is."""
    try:
        master = await _open(settings.model_copy(update={"vaptekesync_db": "master"}))
        try:
            states = await master.fetch(_STATE, settings.vaptekesync_db)
        finally:
            await master.close()
    except LegacyError:
        raise refusal from None
    if cause := legacy_errors.closed(states, settings):
        raise cause
