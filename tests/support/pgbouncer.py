"""A pgbouncer of the test's own, where the Debian package is installed."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from vapteke_local.machine import files, ports, processes
from vapteke_local.machine.processes import Program
from vapteke_local.servers.postgres import Postgres

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "pgbouncer is not installed: apt-get install pgbouncer"


@asynccontextmanager
async def serve(folder: Path, server: Postgres, pool_mode: str, users: dict[str, str]) -> AsyncIterator[int]:
    """Its port; `users` are names and passwords."""
    assert PROGRAM is not None, MISSING
    port = ports.free_port()
    files.ensure_folder(folder).chmod(0o755)
    logins, settings = folder / "users.txt", folder / "pgbouncer.ini"
    logins.write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
    settings.write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {logins}\npool_mode = {pool_mode}\n"
    )
    user = "nobody" if os.geteuid() == 0 else None
    program = Program(name="pgbouncer", command=[PROGRAM, settings], log=folder / "pgbouncer.log", user=user)
    async with processes.running([program]) as [process]:
        await processes.until_ready(process, partial(processes.listening, port))
        yield port
