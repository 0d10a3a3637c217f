"""Is anybody at the port? The drivers take as long over a refusal as over a silence, and name neither."""

import asyncio
import errno
import socket

from legacy_importer.failures import LegacyError, LegacyUnavailable, LegacyUnfit, address, no_answer
from legacy_importer.settings import LegacySettings

_NEXT_ADDRESS_SECONDS = 0.25
_known: set[str] = set()
"""Host names that this process has found once: one that is not found later is an outage of the name service."""


async def port(settings: LegacySettings) -> None:
    """Connect and hang up. Raises LegacyError, at the latest after the deadline of the settings."""
    host = settings.vaptekesync_host.removeprefix("tcp:").partition("\\")[0]
    try:
        async with asyncio.timeout(settings.mssql_timeout):
            _, writer = await asyncio.open_connection(
                host, settings.vaptekesync_port, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS
            )
    except TimeoutError:
        raise no_answer(settings) from None
    except socket.gaierror as error:
        raise _not_found(settings, error) from None
    except OSError as error:
        raise LegacyUnavailable(f"{address(settings)} {_said(error)}") from None
    _known.add(settings.vaptekesync_host)
    writer.close()


def _not_found(settings: LegacySettings, error: socket.gaierror) -> LegacyError:
    is_outage = error.errno == socket.EAI_AGAIN or settings.vaptekesync_host in _known
    kind = LegacyUnavailable if is_outage else LegacyUnfit
    return kind(f"{address(settings)} is not found: the host name is not known here, check VAPTEKESYNC_HOST")


def _said(error: OSError) -> str:
    """Several addresses make an error without a number."""
    refused, text = errno.ECONNREFUSED, str(error)
    if error.errno == refused or f"[Errno {refused}]" in text:
        return "refused the connection: nothing listens there, check VAPTEKESYNC_PORT and that SQL Server runs"
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return f"cannot be reached ({name}): check VAPTEKESYNC_HOST, the network and the firewalls between"
