"""What counts as an outage of Postgres: it is away, not now, or not for writes. The one list for every process.

An outage is answered with 503, and loops try again; anything else is a bug, which is answered with 500 and ends the
loop that meets it. Two rules keep bugs out of the list. Of the operating system's errors only those of connections
count, never a missing file. Of asyncpg's own errors, which it raises for a lost connection and for its misuse alike,
only those count whose text is that of a lost connection; every outage is logged with the error's type, so one that is
logged while `postgres` is well is a bug after all.
"""

import errno
import socket
import ssl

import asyncpg

from vapteke_shared.process.connections import Unavailable

_SQLSTATES = (
    "08",  # the connection; all that pgbouncer itself says
    "25006",  # read-only: a standby, or a primary that takes no writes now
    "25P03",  # the server has ended a session that was idle in a transaction for too long,
    "25P04",  # or in one for too long
    "28",  # the login is refused: its password or pg_hba.conf is being changed
    "3D000",  # the database is not there: it is being restored
    "53",  # no more connections, memory or disk
    "55P03",  # a lock was not given in time
    "57",  # shutdown, start, a session ended by hand or idle for too long, a statement cancelled by hand
    "58000",  # the server cannot use its files
    "58030",
)
_TEXTS = (
    "connection is closed",
    "connection was closed",
    "connection has been released back to the pool",
    "another operation is in progress",
    "another operation is cancelling",
    "the transaction is in error state",
    "pool is clos",
)
_NETWORK = {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET}


def is_outage(error: BaseException) -> bool:
    """Whether the same may go well later, with nothing changed on our side."""
    match error:
        case asyncpg.PostgresError():
            return (error.sqlstate or "").startswith(_SQLSTATES)
        case asyncpg.InterfaceError():  # its subclasses are misuse alone
            return type(error) is asyncpg.InterfaceError and any(text in str(error) for text in _TEXTS)
        case asyncpg.InternalClientError():
            return not isinstance(error, asyncpg.OutdatedSchemaCacheError)
        case Unavailable() | ConnectionError() | TimeoutError() | socket.gaierror() | ssl.SSLError():
            return True
        case OSError():
            return error.errno in _NETWORK
    return False


def unless_a_bug(error: Exception) -> Exception:
    """The outage; anything else is raised on."""
    if not is_outage(error):
        raise error
    return error
