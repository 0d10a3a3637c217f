"""Two servers of Postgres, one the standby of the other, behind an address that can move."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
from vapteke_local.machine import files, processes
from vapteke_local.machine.processes import Program
from vapteke_local.servers import postgres, postgres_binaries
from vapteke_local.servers.postgres import Postgres


class Address:
    """A port that leads to whichever server it was moved to; what is connected stays where it is."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port

    def move(self, port: int) -> None:
        self._target = port

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_passed_on(reader, there), _passed_on(there_reader, writer))


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass  # the other side has gone
    finally:
        writer.close()


@asynccontextmanager
async def address(port: int) -> AsyncIterator[Address]:
    made = Address(port)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


class Pair:
    """`primary` takes the writes, `standby` follows it; `fail_over` lets them change places."""

    def __init__(self, primary: Postgres, standby: Postgres, folders: dict[int, Path]) -> None:
        self.primary, self.standby, self._folders = primary, standby, folders

    async def in_step(self) -> None:
        """Once the standby has all that the primary has written until now: before that, it cannot be promoted."""
        async with session(self.primary) as connection, asyncio.timeout(60):
            written = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
            while not await connection.fetchval(_HAS_REPLAYED, written):
                await asyncio.sleep(0.02)

    async def fail_over(self) -> None:
        """The primary is stopped, the standby promoted, and the old primary comes back as its standby."""
        await self.primary.process.stop()
        await self.promote()
        await self.standby.process.start()

    async def promote(self) -> None:
        """The standby leads from now on; the old primary is not asked, and is to follow it at its next start."""
        async with session(self.standby) as connection:
            assert await connection.fetchval("SELECT pg_promote(wait_seconds => 60)")
        self.primary, self.standby = self.standby, self.primary
        _follow(self._folders[self.standby.port], self.primary)

    async def rejoin(self) -> None:
        """An old primary that was fenced forgets what nobody else has seen, and comes back as the standby."""
        (self._folders[self.standby.port] / "cluster" / "standby.signal").unlink()  # pg_rewind recovers it first
        await _rewind(self._folders[self.standby.port], self.primary)
        _follow(self._folders[self.standby.port], self.primary)
        await self.standby.process.start()


_HAS_REPLAYED = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE replay_lsn >= $1::text::pg_lsn)"


@asynccontextmanager
async def session(server: Postgres, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
    """The superuser's, once the server answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(server.dsn_of(database), timeout=5)
                break
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                await asyncio.sleep(0.02)
    try:
        yield connection
    finally:
        connection.terminate()


async def fence(server: Postgres) -> None:
    """End it hard, for good, whatever it does."""
    for each in [*psutil.Process(server.process.pid).children(recursive=True), psutil.Process(server.process.pid)]:
        each.kill()
    await server.process.stop()


@contextmanager
def silent(server: Postgres) -> Iterator[None]:
    """It keeps its port and its connections, and says nothing any more."""
    whole = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    for each in whole:
        each.suspend()
    try:
        yield
    finally:
        for each in whole:
            if each.is_running():
                each.send_signal(signal.SIGCONT)


@asynccontextmanager
async def read_only(server: Postgres) -> AsyncIterator[None]:
    """A primary that accepts no writes, as one that is about to be replaced; its sessions stay open."""
    async with session(server) as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.fetchval("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await connection.fetchval("SELECT pg_reload_conf()")


@asynccontextmanager
async def pair(data: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as exits:
        primary = await exits.enter_async_context(postgres.serve(data / "one"))
        await _keep_what_a_standby_lacks(primary)
        await _copy(primary, data / "two")
        shutil.copy(data / "one" / "password", data / "two" / "password")
        standby = await exits.enter_async_context(postgres.serve(data / "two"))
        yield Pair(primary, standby, {primary.port: data / "one", standby.port: data / "two"})


async def _keep_what_a_standby_lacks(primary: Postgres) -> None:
    """A restart forgets what is older than its checkpoint, also while the standby is between two attempts."""
    async with session(primary) as connection:
        await connection.execute("ALTER SYSTEM SET wal_keep_size = '1GB'")
        await connection.execute("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
        await connection.fetchval("SELECT pg_reload_conf()")


async def _copy(primary: Postgres, folder: Path) -> None:
    files.ensure_folder(folder).chmod(0o711)
    user = "nobody" if os.geteuid() == 0 else None
    cluster = files.ensure_folder(folder / "cluster")
    cluster.chmod(0o700)
    if user:
        shutil.chown(cluster, user)
    binaries = await postgres_binaries.plain(user)
    command = [binaries / "pg_basebackup", "-d", primary.dsn, "-D", cluster, "-R", "-X", "stream", "-c", "fast"]
    await processes.run(Program(name="pg_basebackup", command=command, log=folder / "copy.log", user=user))


async def _rewind(folder: Path, primary: Postgres) -> None:
    user = "nobody" if os.geteuid() == 0 else None
    command = [
        (await postgres_binaries.plain(user)) / "pg_rewind",
        *("--target-pgdata", folder / "cluster", "--source-server", primary.dsn),
    ]
    await processes.run(Program(name="pg_rewind", command=command, log=folder / "rewind.log", user=user))


def _follow(folder: Path, primary: Postgres) -> None:
    cluster = folder / "cluster"
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = '{primary.dsn}'\n")
    signal_file = cluster / "standby.signal"
    signal_file.touch()
    shutil.chown(signal_file, cluster.owner(), cluster.group())
