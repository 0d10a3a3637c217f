"""Decides which errors are an outage of Postgres: it does not answer, or does not accept work now.

During an outage, requests get 503 and loops try again. Any other error is a bug: requests get 500, and a loop ends.
Two rules keep bugs from counting as outages. Of the operating system's errors, only those of connections count, never a
missing file. asyncpg raises its own errors both for lost connections and for misuse, so only those with the text of a
lost connection count. Every outage is logged with the error's type. An outage that is logged while the health reports
`postgres` as ready is a bug.
"""

import errno
import socket
import ssl

import asyncpg

from vapteke_shared.process.connection_errors import Unavailable

_SQLSTATES = (
    "08",  # connection errors, and all errors of pgbouncer itself
    "25006",  # read-only: a standby, or a primary that accepts no writes now
    "25P03",  # the server ended a session that was idle in a transaction for too long,
    "25P04",  # or a transaction that took too long
    "28",  # the login is rejected: the password or pg_hba.conf is being changed
    "3D000",  # the database does not exist: it is being restored
    "53",  # no more connections, memory or disk space
    "55P03",  # a lock was not available in time
    "57",  # shutdown, start, a session ended by an operator or idle for too long, a cancelled statement
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
    """Whether the error is an outage: Postgres does not answer or does not accept work, and may do so later.

    A Misconfigured is an outage too, although an operator must first change the server or the settings.
    """
    match error:
        case asyncpg.PostgresError():
            return (error.sqlstate or "").startswith(_SQLSTATES)
        case asyncpg.InterfaceError():  # its subclasses mean misuse
            return type(error) is asyncpg.InterfaceError and any(text in str(error) for text in _TEXTS)
        case asyncpg.InternalClientError():
            return not isinstance(error, asyncpg.OutdatedSchemaCacheError)
        case Unavailable() | ConnectionError() | TimeoutError() | socket.gaierror() | ssl.SSLError():
            return True
        case OSError():
            return error.errno in _NETWORK
    return False


def raise_unless_outage(error: Exception) -> Exception:
    """Return the error if it is an outage; otherwise raise it."""
    if not is_outage(error):
        raise error
    return error
