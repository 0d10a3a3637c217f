"""Postgres without Docker: a cluster of its own on 127.0.0.1, run by user `nobody` if this process runs as root."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

from vapteke_local.machine import data_folder, files, processes
from vapteke_local.machine.processes import Process, Program, StackFailure
from vapteke_local.servers import postgres_binaries
from vapteke_local.servers.certificates import Certificates

SUPERUSER = "postgres"
DATABASE = "vaptekecustomers"
_UNPRIVILEGED = "nobody"

# Sized for a developer's machine that runs the whole stack. Settings that make a commit durable, such as fsync, stay.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "2GB",
    "random_page_cost": "1.1",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and their parameters may hold personal data, so they are not logged.
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}


class Unreachable(StackFailure):
    """The user that runs Postgres cannot enter the data folder."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    host: str
    port: int
    user: str
    password: str
    process: Process

    @property
    def dsn(self) -> str:
        """The DSN of the superuser for the maintenance database, `postgres`."""
        return self.dsn_of("postgres")

    def dsn_of(self, database: str, user: str | None = None, password: str | None = None) -> str:
        user, password = user or self.user, password or self.password
        return f"postgresql://{quote(user)}:{quote(password)}@{self.host}:{self.port}/{quote(database)}"


@dataclass(frozen=True, kw_only=True)
class Role:
    name: str
    password: str
    owner: bool = False
    """Whether the role may create schemas in the database. The migrations of its service grant everything else."""


@contextlib.asynccontextmanager
async def serve(
    data: Path,
    *,
    certificates: Certificates | None = None,
    logs: Path | None = None,
    changed: Callable[[Process], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Postgres]:
    """Runs a Postgres server while the block runs, and yields it once it answers. Raises StackFailure.

    The folder `data` keeps the cluster, the port and the superuser's password for the next run. With certificates, the
    server accepts only connections with TLS, and is of another major version than without. So give a folder with
    certificates always or never. `changed` is called after every start, also when a server that ended is started again.
    """
    files.ensure_folder(data)
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    log = (logs or data) / "postgres.log"
    binaries = await (postgres_binaries.with_tls(user, say) if certificates else postgres_binaries.plain(user))
    password = await _ensure_cluster(binaries, data, log, user)
    port = data_folder.kept_port(data, "postgres")
    settings = SETTINGS | (_secured(data, certificates, user) if certificates else {})
    program = Program(
        name="postgres",
        command=[binaries / "postgres", "-D", data / "cluster", "-p", str(port), *_options(settings)],
        log=log,
        env=_environment(),
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown: it does not wait for clients to leave
        death_signal=signal.SIGQUIT,  # immediate shutdown, children included; after SIGKILL they would go on
        grace_seconds=60,
    )
    async with processes.running([program], changed) as [process]:
        server = Postgres(host="127.0.0.1", port=port, user=SUPERUSER, password=password, process=process)
        await processes.until_ready(process, lambda: _answers(server), timeout=120)
        yield server


async def ensure_database(server: Postgres, roles: list[Role], name: str = DATABASE) -> None:
    """Creates the database and the roles if they are missing, and sets the passwords of the roles. Safe to repeat.

    Takes the rights to connect and to create temporary tables from PUBLIC, and grants them to the roles. So other
    roles, except superusers, cannot connect without a grant of their own. Owners may also create schemas.
    """
    connection = await asyncpg.connect(server.dsn)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.execute(f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
        for role in roles:
            await _ensure_role(connection, role, name)
    finally:
        await connection.close()


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: Role, database: str) -> None:
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role.name):
        await connection.execute(f'CREATE ROLE "{role.name}"')
    # ALTER ROLE takes no parameters, so the server quotes the password.
    alter: str = await connection.fetchval(
        "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", role.name, role.password
    )
    await connection.execute(alter)
    rights = "CONNECT, TEMPORARY, CREATE" if role.owner else "CONNECT, TEMPORARY"
    await connection.execute(f'GRANT {rights} ON DATABASE "{database}" TO "{role.name}"')


async def _ensure_cluster(binaries: Path, data: Path, log: Path, user: str | None) -> str:
    """Creates the cluster unless its folder exists, and returns the superuser's password.

    The folder `cluster` appears only when the cluster is complete, so an interrupted start does no harm. Raises
    Unreachable, or NotStarted if initdb fails.
    """
    password_file = data / "password"
    if (data / "cluster").exists():
        return password_file.read_text()
    if user:
        await asyncio.to_thread(_let_in, data, user)
    password = secrets.token_urlsafe(24)
    unfinished = data / "cluster.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    files.write_private(password_file, password)
    await _initdb(binaries, unfinished, password_file, log, user)
    unfinished.rename(data / "cluster")
    return password


async def _initdb(binaries: Path, cluster: Path, password_file: Path, log: Path, user: str | None) -> None:
    if user:
        _hand_over(user, files.ensure_folder(cluster), password_file)
    command: list[str | Path] = [
        *(binaries / "initdb", "--pgdata", cluster, "--username", SUPERUSER, "--pwfile", password_file),
        *("--auth", "scram-sha-256", "--encoding", "UTF8"),
        # Postgres' own rules for letters, which are the same on every machine, whatever its C library or ICU.
        *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    ]
    await processes.run(Program(name="initdb", command=command, log=log, env=_environment(), user=user), timeout=120)


def _secured(data: Path, certificates: Certificates, user: str | None) -> dict[str, str]:
    keys, access = data / "server.pem", data / "pg_hba.conf"
    files.write_private(keys, certificates.server)
    files.write_private(access, "hostssl all all 127.0.0.1/32 scram-sha-256\n")
    if user:
        _hand_over(user, keys, access)
    return {"ssl": "on", "ssl_cert_file": str(keys), "ssl_key_file": str(keys), "hba_file": str(access)}


def _hand_over(user: str, *paths: Path) -> None:
    for path in paths:
        shutil.chown(path, user)


def _options(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _environment() -> dict[str, str]:
    """The caller's environment with the locale C, and without PG… variables, which could change the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


async def _answers(server: Postgres) -> str | None:
    try:
        connection = await asyncpg.connect(server.dsn, timeout=5)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
        return str(error)
    await connection.close()
    return None


def _let_in(folder: Path, user: str) -> None:
    """Lets the user enter the folder. Raises Unreachable if a folder above it does not let the user through."""
    folder.chmod(0o711)
    test = subprocess.run(["test", "-x", folder], user=user, check=False, cwd="/")
    if test.returncode != 0:
        raise Unreachable(
            f"Postgres runs as user {user} here, who cannot enter {folder}: choose a folder that every user can enter"
        )
