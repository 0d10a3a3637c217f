"""The errors of vAptekeSync. An error of a driver is translated into a text that says what is wrong and what to do.

After a LegacyUnavailable, which is an outage, another attempt may succeed. Every other error is permanent.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyodbc
from vapteke_shared.process import addresses

from legacy_importer.settings import LegacySettings


class LegacyError(Exception):
    """The base class of all errors of vAptekeSync. The text is for operators and contains no values of the table."""


class LegacyUnavailable(LegacyError):
    """vAptekeSync does not answer or cannot work at present. Another attempt may succeed."""


class LegacyMisconfigured(LegacyError):
    """The settings do not fit vAptekeSync or the driver. No attempt will succeed until one of them is corrected."""


class DriverUnusable(LegacyMisconfigured):
    """The driver cannot be loaded, or cannot work with the settings. Nothing was sent to the server."""


class TlsFailed(LegacyMisconfigured):
    """No TLS connection can be opened, so nothing was sent to the server, not even the login."""


class RowsLocked(LegacyUnavailable):
    """A transaction holds rows that the statement needs. The statement succeeds once that transaction has ended."""


class UnreadableValue(LegacyError):
    """A value of a row makes the statement fail. A statement that leaves out that row succeeds."""


class DatabaseClosed(LegacyUnavailable):
    """The login is accepted, but the database cannot be opened. A query in `master` shows why."""


class CauseUnknown(LegacyUnavailable):
    """The driver reports an error whose cause we do not know. Another attempt may succeed."""


class LoginRefused(LegacyMisconfigured):
    """The login is refused.

    FreeTDS reports only the last error of a login, so with FreeTDS the cause may be a database that cannot be opened.
    """


# Conversions, overflows, impossible dates, divisions by zero, truncated texts, subqueries with several rows.
_VALUE_ERRORS = {
    220,
    232,
    234,
    235,
    236,
    237,
    238,
    241,
    242,
    244,
    245,
    248,
    293,
    295,
    296,
    298,
    512,
    517,
    535,
    536,
    537,
}
_VALUE_ERRORS |= {2628, 3606, 3607, 3623, 6354, 8114, 8115, 8134, 8152, 8169, 8170, 9420, 9807, 9810, 13609}
_DATABASE_CLOSED = {4060, 4064}
_LOCKED = 1222
_LOGIN_REFUSED = {18456}
_CONNECTION_STATES = ("01", "08", "HY", "IM", "S1")
_ASK = "look up the number, or ask its administrators"
_LOGIN = "refused the login: check VAPTEKESYNC_USER, VAPTEKESYNC_PASSWORD and VAPTEKESYNC_DB"

# By the error numbers of SQL Server, Azure and Babelfish; each text follows "vAptekeSync at HOST:PORT ".
_OUTAGES = {
    596: "ended the session: its administrators ended it, or the database moved to another server",
    701: "has too little memory at present",
    823: "cannot read a page of its files: its administrators must run DBCC CHECKDB",
    824: "found a damaged page: its administrators must run DBCC CHECKDB",
    904: "is starting: its database cannot be opened yet",
    921: "is recovering the database",
    922: "is recovering the database",
    923: "has the database in restricted mode: its administrators must set MULTI_USER",
    924: "has the database in single-user mode: its administrators must set MULTI_USER",
    927: "is restoring the database",
    942: "has the database offline: its administrators must bring it online",
    952: "has the database in transition",
    954: "is a mirror of the database: VAPTEKESYNC_HOST must lead to the principal",
    976: "is a replica that cannot be read now: VAPTEKESYNC_HOST must lead to the listener or a readable replica",
    978: "accepts only read-intent connections: VAPTEKESYNC_ODBC_OPTIONS must not change ApplicationIntent",
    983: "is a replica that is changing its role",
    1105: "has no space left in its files: its administrators must add some",
    1205: "ended the statement as the victim of a deadlock",
    _LOCKED: "did not grant a lock in time",
    6005: "is shutting down",
    8645: "has too little memory at present",
    9002: "has a full transaction log: its administrators must free space in it",
    10928: "has reached a resource limit",
    10929: "has reached a resource limit",
    17142: "is paused",
    17187: "is starting",
    17188: "is shutting down",
    17189: "has no thread left for this connection",
    17197: "took too long to log in",
    17809: "has reached its limit of connections",
    17810: "has its only administrator connection in use",
    18401: "is being upgraded",
    18451: "accepts only administrators at present",
    18458: "has reached the number of users that its licence allows",
    18459: "has reached the number of users that its licence allows",
    18460: "has reached the number of users that its licence allows",
    18461: "is in single-user mode",
    40197: "is being moved or upgraded",
    40501: "is too busy",
    40613: "does not have the database available at present",
    49918: "is too busy",
    49919: "is too busy",
    49920: "is too busy",
}
_PERMANENT = {
    207: "a column does not exist: check VAPTEKESYNC_COLUMNS",
    208: "the table does not exist: check VAPTEKESYNC_SCHEMA and VAPTEKESYNC_TABLE",
    229: "reading the table is not permitted: grant SELECT on it to VAPTEKESYNC_USER",
    230: "reading a column is not permitted: grant SELECT on it to VAPTEKESYNC_USER",
    911: "the database does not exist: check VAPTEKESYNC_DB",
    916: "the login has no user in the database: create one for VAPTEKESYNC_USER (VAPTEKESYNC_DB)",
    926: "the database is marked as suspect: its administrators must repair it",
    4062: "the login's default database cannot be opened: its administrators must set another (VAPTEKESYNC_USER)",
    4413: "the view no longer fits the tables that it reads: its administrators must repair it (VAPTEKESYNC_TABLE)",
    4502: "the view no longer fits the tables that it reads: its administrators must repair it (VAPTEKESYNC_TABLE)",
    17892: "a logon trigger rejects this login: ask its administrators (VAPTEKESYNC_USER)",
    18450: "the login is not a user of SQL Server: check VAPTEKESYNC_USER, and that SQL Server logins are enabled",
    18452: "the login is from an untrusted domain: VAPTEKESYNC_USER must be a login of SQL Server, not of Windows",
    18470: "the login is disabled: its administrators must enable it (VAPTEKESYNC_USER)",
    18486: "the login is locked out: its administrators must unlock it (VAPTEKESYNC_USER)",
    18487: "the password has expired: set a new one, also in VAPTEKESYNC_PASSWORD",
    18488: "the password must be changed first: set a new one, also in VAPTEKESYNC_PASSWORD",
    40532: "its gateway does not know the login's server: check VAPTEKESYNC_HOST and VAPTEKESYNC_USER",
    40615: "its firewall blocks this address: ask its administrators",
    40914: "its firewall blocks this network: ask its administrators",
    47073: "it accepts no connections from public networks: ask its administrators",
}
_DRIVER = (
    "check the name or path in VAPTEKESYNC_DRIVER (empty: Microsoft's), and that it and its libraries are installed"
)
_TRUST = "or, on a network where nobody can listen in, set VAPTEKESYNC_TRUST_SERVER_CERTIFICATE=true"
# By patterns of the texts of the drivers and of OpenSSL, in lower case.
_TLS_BY_TEXT = {
    r"encryption not supported|no tls here": "does not support TLS: its administrators must give it a certificate, "
    "or, on a network where nobody can listen in, set VAPTEKESYNC_ENCRYPT=no",
    r"does not match host name|mismatch, certificate": "shows a certificate for another name: set VAPTEKESYNC_HOST or "
    f"VAPTEKESYNC_CERTIFICATE_HOST to a name in the certificate, {_TRUST}",
    r"certificate has expired": f"shows a certificate that has expired: its administrators must renew it, {_TRUST}",
    r"certificate is not yet valid": "shows a certificate that is not valid yet: check the clocks of both machines",
    r"md too weak|key too (?:small|weak)|digest algorithm too weak": "has a certificate or key that is too weak for "
    "this system (SHA-1, or a short key): its administrators must renew it",
    r"certificate verify failed": "shows a certificate that is not trusted: set VAPTEKESYNC_SSLROOTCERT to the file of "
    f"the authority that signed it, {_TRUST}",
    r"legacy sigalg|unsupported protocol|protocol version|no protocols available|wrong ssl version|version too low"
    r"|handshake failure|no shared cipher|legacy renegotiation|inappropriate fallback": "offers only TLS that is too "
    'old for this system (1.0 or 1.1): update SQL Server, or see "Certificates" in docs/vaptekesync.md',
}
_DRIVER_BY_TEXT = {
    r"invalid value specified for connection string": "cannot be connected to: the driver rejects a value of "
    "VAPTEKESYNC_ODBC_OPTIONS",
    r"openssl library could not be loaded": "cannot be connected to: the driver does not find OpenSSL; install libssl",
}


def address(settings: LegacySettings) -> str:
    """The server's name in every error text: `vAptekeSync at HOST:PORT`."""
    return f"vAptekeSync at {addresses.written(settings.vaptekesync_host, settings.vaptekesync_port)}"


def no_answer(settings: LegacySettings) -> LegacyUnavailable:
    return LegacyUnavailable(f"{address(settings)} did not answer within {settings.mssql_timeout:g} s")


def from_driver(error: pyodbc.Error, settings: LegacySettings) -> LegacyError:
    """The LegacyError that explains an error of the driver, for the caller to raise. CauseUnknown if nothing fits.

    The driver's own text is left out, because that text may contain values of the table.
    """
    state, text = (str(part) for part in (*error.args, "", "")[:2])
    numbers = {int(number) for number in re.findall(r"\((\d+)\)(?: \(SQL\w+\)|; \[|$)", text)}
    where = address(settings)
    if state in ("01000", "IM002", "IM003") and "[Driver Manager]" in text:
        return driver_not_loaded(state)
    for number in numbers & _OUTAGES.keys():
        kind = RowsLocked if number == _LOCKED else LegacyUnavailable
        return kind(f"{where} {_numbered(_OUTAGES[number], number)}")
    for number in numbers & _PERMANENT.keys():
        return LegacyMisconfigured(f"{where}: {_numbered(_PERMANENT[number], number)}")
    for number in numbers & _DATABASE_CLOSED:
        return DatabaseClosed(f"{where} cannot open the database {settings.vaptekesync_db} at present (error {number})")
    if numbers & _LOGIN_REFUSED or state == "28000":
        return LoginRefused(f"{where} {_LOGIN}")
    if numbers & _VALUE_ERRORS or state.startswith("22"):
        return UnreadableValue(f"{where}: a value makes the statement fail (SQLSTATE {state}{_listed(numbers)})")
    if numbers - {0} and not state.startswith(_CONNECTION_STATES):
        return CauseUnknown(f"{where} answered with an error (SQLSTATE {state}{_listed(numbers)}): {_ASK}")
    return from_error_text(text, settings) or CauseUnknown(
        f"{where} cannot be reached or closed the connection (SQLSTATE {state}{_listed(numbers)}), "
        f"see SQL Server's error log{_hint(settings)}"
    )


def from_error_text(text: str, settings: LegacySettings) -> LegacyMisconfigured | None:
    """The error that explains an error text of a driver or of OpenSSL, for the caller to raise.

    It is TlsFailed or DriverUnusable. None: no known pattern matches.
    """
    for kind, texts in ((TlsFailed, _TLS_BY_TEXT), (DriverUnusable, _DRIVER_BY_TEXT)):
        for pattern, explanation in texts.items():
            if re.search(pattern, text.casefold()):
                return kind(f"{address(settings)} {explanation}")
    return None


def driver_not_loaded(cause: str) -> DriverUnusable:
    return DriverUnusable(f"the ODBC driver cannot be loaded ({cause}): {_DRIVER}")


def database_closed(states: Sequence[Sequence[Any]], settings: LegacySettings) -> LegacyError | None:
    """The error, for the caller to raise, that says why the database cannot be opened.

    None when the database is online and in multi-user mode: then its state is not the cause.
    `states` are the rows of `sys.databases` for this database: one, or none if the login may not see it.
    """
    where, name = address(settings), settings.vaptekesync_db
    if not states:
        return LegacyMisconfigured(f"{where} has no database {name} that this login may see: check VAPTEKESYNC_DB")
    [[state, access]] = states
    if state != "ONLINE":
        return DatabaseClosed(f"{where} has the database {name} in the state {state}")
    if access != "MULTI_USER":
        return DatabaseClosed(f"{where} has the database {name} in the mode {access}")
    return None


def no_user_in_database(settings: LegacySettings) -> LegacyMisconfigured:
    return LegacyMisconfigured(
        f"{address(settings)} does not let this login open the database {settings.vaptekesync_db}: "
        "create a user for it there, or check VAPTEKESYNC_USER and VAPTEKESYNC_DB"
    )


def _numbered(text: str, number: int) -> str:
    """The text with `(error N)` before the colon that separates the fact from the remedy, or at the end without one."""
    fact, colon, remedy = text.partition(": ")
    return f"{fact} (error {number}){colon}{remedy}"


def _hint(settings: LegacySettings) -> str:
    return "; VAPTEKESYNC_ENCRYPT=strict needs SQL Server 2022" if settings.vaptekesync_encrypt == "strict" else ""


def _listed(numbers: set[int]) -> str:
    real = sorted(numbers - {0})
    return f", error {', '.join(map(str, real))}" if real else ""
