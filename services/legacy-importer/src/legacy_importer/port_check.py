"""Checks that a server listens at vAptekeSync's port.

A driver needs as long to report a refused connection as to give up on a silent server, and does not say which of the
two has happened.
"""

import asyncio
import errno
import socket
from typing import Any

from legacy_importer.legacy_errors import LegacyError, LegacyMisconfigured, LegacyUnavailable, address, no_answer
from legacy_importer.settings import LegacySettings

_resolved_hosts: set[str] = set()
"""Host names that this process has resolved: if one of them cannot be resolved later, the name service has an outage.
"""


async def check(settings: LegacySettings) -> None:
    """Open a TCP connection to vAptekeSync and close it again.

    Raises LegacyUnavailable when this is not possible, after MSSQL_TIMEOUT seconds at the latest. Raises
    LegacyMisconfigured when the host name does not exist, and has never been resolved in this process.
    """
    host = settings.vaptekesync_host.removeprefix("tcp:").partition("\\")[0]
    try:
        async with asyncio.timeout(settings.mssql_timeout):
            await _any_address(host, settings.vaptekesync_port)
    except TimeoutError:
        raise no_answer(settings) from None
    except socket.gaierror as error:
        raise _not_found(settings, error) from None
    except OSError as error:
        raise LegacyUnavailable(f"{address(settings)} {_reason(error)}") from None
    _resolved_hosts.add(settings.vaptekesync_host)


async def _any_address(host: str, port: int) -> None:
    """Connect to all addresses of the host at once, and return when one accepts. Raises the last OSError if none does.

    The host may be a cluster, where perhaps only one address answers.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    attempts = [asyncio.create_task(_connect(family, address)) for family, _, _, _, address in found]
    try:
        for number, attempt in enumerate(asyncio.as_completed(attempts), 1):
            try:
                return await attempt
            except OSError:
                if number == len(attempts):
                    raise
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


async def _connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)


def _not_found(settings: LegacySettings, error: socket.gaierror) -> LegacyError:
    is_outage = error.errno == socket.EAI_AGAIN or settings.vaptekesync_host in _resolved_hosts
    kind = LegacyUnavailable if is_outage else LegacyMisconfigured
    return kind(f"{address(settings)} is not found: the host name cannot be resolved, check VAPTEKESYNC_HOST")


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refused the connection: nothing listens there, check VAPTEKESYNC_PORT and that SQL Server runs"
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return f"cannot be reached ({name}): check VAPTEKESYNC_HOST, the network and its firewalls"
