"""Reports in the health of a process whether Postgres is ready, and replaces the pool's sessions when another server
takes over.
"""

import asyncio

import asyncpg

from vapteke_shared.postgres import migrations, sessions
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.postgres.pools import Pool
from vapteke_shared.postgres.sessions import ReadOnly, Session
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import cancellation, connection_errors
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause

_CHECK_SECONDS = 1
_ANSWER_SECONDS = 2


async def watch(pool: Pool, schema: Schema, state: Health, stopping: asyncio.Event) -> None:
    """Report in `state`, until `stopping` is set, whether Postgres is ready. Raises any error that is not an outage.

    Postgres is ready when it answers, accepts writes, and has the schema that this release needs. The pool's sessions
    are also replaced when another server takes over, or when their server no longer accepts writes.
    """
    watcher = _Watcher(pool, schema)
    try:
        while not stopping.is_set():
            if fault := await watcher.fault():
                state.report_fault("postgres", fault)
            else:
                state.report_ready("postgres")
            await pause(stopping, _CHECK_SECONDS)
    finally:
        watcher.close()


class _Watcher:
    """Checks Postgres on a session of its own, so that no check waits for the pool or for a server that is gone."""

    def __init__(self, pool: Pool, schema: Schema) -> None:
        self._pool, self._service = pool, schema.service
        self._outdated = migrations.outdated(schema)
        self._session: Session | None = None

    def close(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None

    async def fault(self) -> str | None:
        try:
            return await self._fault_after_reconnecting()
        except Exception as error:
            cancellation.reraise_cancellation()
            return connection_errors.describe(raise_unless_outage(error), "Postgres does not answer")

    async def _fault_after_reconnecting(self) -> str | None:
        try:
            return await self._fault_of(await self._current_session())
        except Exception as error:
            raise_unless_outage(error)
            if self._session is None:
                raise
            self.close()
            if isinstance(error, ReadOnly):  # the pool has the same server, and perhaps no other host answers
                await self._pool.expire_connections()
        return await self._fault_of(await self._current_session())

    async def _current_session(self) -> Session:
        """The watcher's session. If there is none, opens one and replaces the pool's sessions too.

        The pool's sessions are replaced because the server may have changed. Raises the errors of `sessions.connect`.
        Before a ReadOnly is raised, the pool's sessions are expired: each is replaced before its next use.
        """
        if self._session is None:
            try:
                self._session = await self._pool.open_extra_session()
            except ReadOnly:
                await self._pool.expire_connections()
                raise
            await self._pool.replace_sessions(self._session.server_started_at)
        return self._session

    async def _fault_of(self, session: Session) -> str | None:
        await sessions.check(session, _ANSWER_SECONDS)
        try:
            version = await session.fetchval("SELECT version_num FROM alembic_version", timeout=_ANSWER_SECONDS)
        except asyncpg.UndefinedTableError:
            return f"the schema is missing: run `{self._service} migrate`"
        if version in self._outdated:
            return f"the schema is older than the service: run `{self._service} migrate`"
        return None
