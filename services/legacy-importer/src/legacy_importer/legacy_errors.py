"""What can be wrong with vAptekeSync, in words for operators: what it is, and what to do about it.

An error is either an outage, which a further attempt may outlast, or unfit, which no attempt will heal.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyodbc
from vapteke_shared.process import addresses

from legacy_importer.settings import LegacySettings


class LegacyError(Exception):
    """What went wrong with vAptekeSync, in words for operators."""


class LegacyUnavailable(LegacyError):
    """It does not answer, or not now: a further attempt may succeed."""


class LegacyMisconfigured(LegacyError):
    """Login, table or columns are not as the settings say: no attempt will succeed."""


class UnreadableValue(LegacyError):
    """A value of a row makes the statement fail: it will fail again, but not for other rows."""


class DatabaseClosed(LegacyUnavailable):
    """The login is good, but the database cannot be opened. Why, the server only tells who asks in `master`."""


class CauseUnknown(LegacyUnavailable):
    """The driver names no cause that we know."""


class LoginRefused(LegacyMisconfigured):
    """FreeTDS shows the last error of a login alone: it may be DatabaseClosed."""


# Conversions, overflows, impossible dates, divisions by zero, texts cut off, a subquery of several rows.
_OF_A_VALUE = {220, 232, 234, 235, 236, 237, 238, 241, 242, 244, 245, 248, 293, 295, 296, 298, 512, 517, 535, 536, 537}
_OF_A_VALUE |= {2628, 3606, 3607, 3623, 6354, 8114, 8115, 8134, 8152, 8169, 8170, 9420, 9807, 9810, 13609}
_DATABASE_CLOSED = {4060, 4064}
_LOGIN_REFUSED = {18456}
_OF_THE_CONNECTION = ("01", "08", "HY", "IM", "S1")
_ASK = "look the number up, or ask its administrators"
_LOGIN = "refused the login: check VAPTEKESYNC_USER, VAPTEKESYNC_PASSWORD and VAPTEKESYNC_DB"

# What SQL Server, Azure and Babelfish answer; a text follows "vAptekeSync at HOST:PORT ".
_OUTAGES = {
    596: "has ended the session: its administrators did, or it moved to another server",
    701: "has too little memory at present",
    823: "cannot read a page of its files: its administrators must run DBCC CHECKDB",
    824: "has found a damaged page: its administrators must run DBCC CHECKDB",
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
    978: "is a replica for readers alone: VAPTEKESYNC_ODBC_OPTIONS must not change ApplicationIntent",
    983: "is a replica that is changing its role",
    1105: "has no room left in its files: its administrators must make some",
    1205: "has ended the statement as the victim of a deadlock",
    1222: "did not give a lock in time",
    6005: "is shutting down",
    8645: "has too little memory at present",
    9002: "has a full transaction log: its administrators must make room",
    10928: "has no resources left for this login",
    10929: "has no resources left for this login",
    17142: "is paused",
    17187: "is starting",
    17188: "is shutting down",
    17189: "has no thread left for this connection",
    17197: "took too long over the login",
    17809: "has as many connections as it may have",
    17810: "has its one administrator's connection in use",
    18401: "is being upgraded",
    18451: "lets only administrators in at present",
    18458: "has as many users as its licence allows",
    18459: "has as many users as its licence allows",
    18460: "has as many users as its licence allows",
    18461: "is in single-user mode",
    40197: "is being moved or upgraded",
    40501: "is too busy",
    40613: "does not have the database available at present",
    49918: "is too busy",
    49919: "is too busy",
    49920: "is too busy",
}
_UNFIT = {
    207: "a column is missing: check VAPTEKESYNC_COLUMNS",
    208: "the table is missing: check VAPTEKESYNC_SCHEMA and VAPTEKESYNC_TABLE",
    229: "reading it is not permitted: grant SELECT on the table to VAPTEKESYNC_USER",
    230: "reading a column is not permitted: grant SELECT on it to VAPTEKESYNC_USER",
    911: "there is no such database: check VAPTEKESYNC_DB",
    916: "VAPTEKESYNC_USER has no user in the database: create one for this login (VAPTEKESYNC_DB)",
    926: "the database is marked as suspect: its administrators must repair it",
    4062: "the login's default database cannot be opened: its administrators must set another (VAPTEKESYNC_USER)",
    4413: "the view reads what is not as it was: its administrators must mend it (VAPTEKESYNC_TABLE)",
    4502: "the view reads what is not as it was: its administrators must mend it (VAPTEKESYNC_TABLE)",
    17892: "a logon trigger refuses this login: ask its administrators (VAPTEKESYNC_USER)",
    18450: "the login is not a user of SQL Server: check VAPTEKESYNC_USER, and that SQL Server logins are enabled",
    18452: "the login is from an untrusted domain: VAPTEKESYNC_USER must be a login of SQL Server, not of Windows",
    18470: "the login is disabled: its administrators must enable it (VAPTEKESYNC_USER)",
    18486: "the login is locked out: its administrators must unlock it (VAPTEKESYNC_USER)",
    18487: "the password has expired: set a new one, and VAPTEKESYNC_PASSWORD to it",
    18488: "the password must be changed first: set a new one, and VAPTEKESYNC_PASSWORD to it",
    40532: "its gateway does not know the login's server: check VAPTEKESYNC_HOST and VAPTEKESYNC_USER",
    40615: "its firewall does not let this address in: ask its administrators",
    40914: "its firewall does not let this network in: ask its administrators",
    47073: "it lets nobody in from public networks: ask its administrators",
}
_DRIVER = (
    "check the name or path in VAPTEKESYNC_DRIVER (empty: Microsoft's), and that it and its libraries are installed"
)
_TRUST = "or, if nobody can listen in between, set VAPTEKESYNC_TRUST_SERVER_CERTIFICATE=true"
# Parts of what the drivers and OpenSSL say, in small letters.
_TLS = {
    r"encryption not supported|no tls here": "has no TLS: let its administrators give it a certificate, "
    "or, if nobody can listen in between, set VAPTEKESYNC_ENCRYPT=no",
    r"does not match host name|mismatch, certificate": "shows a certificate for another name: set VAPTEKESYNC_HOST or "
    f"VAPTEKESYNC_CERTIFICATE_HOST to a name in the certificate, {_TRUST}",
    r"certificate has expired": f"shows a certificate that has expired: let its administrators renew it, {_TRUST}",
    r"certificate is not yet valid": "shows a certificate that is not valid yet: check the clocks of both sides",
    r"md too weak|key too (?:small|weak)|digest algorithm too weak": "has a certificate or key that is too weak for "
    "this system (SHA-1, or short): let its administrators renew it",
    r"certificate verify failed": "shows a certificate that is not trusted: set VAPTEKESYNC_SSLROOTCERT to the file of "
    f"the authority that signed it, {_TRUST}",
    r"legacy sigalg|unsupported protocol|protocol version|no protocols available|wrong ssl version|version too low"
    r"|handshake failure|no shared cipher|legacy renegotiation|inappropriate fallback": "offers only TLS that is too "
    'old for this system (1.0 or 1.1): update SQL Server, or see "Certificates" in docs/vaptekesync.md',
    r"invalid value specified for connection string": "cannot be connected to: the driver does not take a value of "
    "VAPTEKESYNC_ODBC_OPTIONS",
    r"openssl library could not be loaded": "cannot be connected to: the driver finds no OpenSSL; install libssl",
}


def address(settings: LegacySettings) -> str:
    return f"vAptekeSync at {addresses.written(settings.vaptekesync_host, settings.vaptekesync_port)}"


def no_answer(settings: LegacySettings) -> LegacyUnavailable:
    return LegacyUnavailable(f"{address(settings)} did not answer within {settings.mssql_timeout:g} s")


def understood(error: pyodbc.Error, settings: LegacySettings) -> LegacyError:
    """The driver's error in words that say what to do; its own text may hold values and is left out."""
    state, text = (str(part) for part in (*error.args, "", "")[:2])
    numbers = {int(number) for number in re.findall(r"\((\d+)\)(?: \(SQL\w+\)|; \[|$)", text)}
    where = address(settings)
    if state in ("01000", "IM002", "IM003") and "[Driver Manager]" in text:
        return LegacyMisconfigured(f"the ODBC driver cannot be loaded ({state}): {_DRIVER}")
    for number in numbers & _OUTAGES.keys():
        return LegacyUnavailable(f"{where} {_numbered(_OUTAGES[number], number)}")
    for number in numbers & _UNFIT.keys():
        return LegacyMisconfigured(f"{where}: {_numbered(_UNFIT[number], number)}")
    if numbers & _DATABASE_CLOSED:
        return DatabaseClosed(f"{where} cannot open the database {settings.vaptekesync_db} at present (error 4060)")
    if numbers & _LOGIN_REFUSED or state == "28000":
        return LoginRefused(f"{where} {_LOGIN}")
    if numbers & _OF_A_VALUE or state.startswith("22"):
        return UnreadableValue(f"{where}: a value makes the statement fail (SQLSTATE {state}{_listed(numbers)})")
    if numbers - {0} and not state.startswith(_OF_THE_CONNECTION):
        return CauseUnknown(f"{where} answered with an error of its own (SQLSTATE {state}{_listed(numbers)}): {_ASK}")
    return no_tls(text, settings) or CauseUnknown(
        f"{where} cannot be reached or broke off (SQLSTATE {state}{_listed(numbers)}), "
        f"see SQL Server's error log{_hint(settings)}"
    )


def no_tls(text: str, settings: LegacySettings) -> LegacyMisconfigured | None:
    """What a text of a driver or of OpenSSL says about TLS, if it is about that."""
    for part, said in _TLS.items():
        if re.search(part, text.casefold()):
            return LegacyMisconfigured(f"{address(settings)} {said}")
    return None


def closed(states: Sequence[Sequence[Any]], settings: LegacySettings) -> LegacyError | None:
    """What `sys.databases` says of the database: why it cannot be opened, or None when it can."""
    where, name = address(settings), settings.vaptekesync_db
    if not states:
        return LegacyMisconfigured(f"{where} has no database {name} that this login may see (VAPTEKESYNC_DB)")
    [[state, access]] = states
    if state != "ONLINE":
        return LegacyUnavailable(f"{where} has the database {name} in the state {state}")
    if access != "MULTI_USER":
        return LegacyUnavailable(f"{where} has the database {name} in the mode {access}")
    return None


def not_permitted(settings: LegacySettings) -> LegacyMisconfigured:
    return LegacyMisconfigured(
        f"{address(settings)} does not let this login into the database {settings.vaptekesync_db}: "
        "create a user for it there, or check VAPTEKESYNC_USER and VAPTEKESYNC_DB"
    )


def _numbered(text: str, number: int) -> str:
    """The number follows what is wrong; what to do comes after it."""
    fact, colon, cure = text.partition(": ")
    return f"{fact} (error {number}){colon}{cure}"


def _hint(settings: LegacySettings) -> str:
    return "; VAPTEKESYNC_ENCRYPT=strict needs SQL Server 2022" if settings.vaptekesync_encrypt == "strict" else ""


def _listed(numbers: set[int]) -> str:
    real = sorted(numbers - {0})
    return f", error {', '.join(map(str, real))}" if real else ""
