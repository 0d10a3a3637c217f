"""Can the importer reach vAptekeSync and log in? Driver, server, TLS, login, clock."""

import ctypes
from datetime import UTC, datetime

from legacy_importer import connection_string, legacy, legacy_errors, odbc_driver, port_check
from legacy_importer.doctor.findings import Verdict, failure, ok, unknown, warning
from legacy_importer.doctor.subject import Subject
from legacy_importer.legacy_errors import DatabaseClosed, DriverUnusable, LegacyError, LegacyMisconfigured, TlsFailed
from legacy_importer.login import connect
from legacy_importer.settings import LegacySettings

_CLOCK_SECONDS = 60


async def driver(subject: Subject) -> Verdict:
    """Whether the library can be loaded, with all libraries that it needs. This works while the server is away."""
    name = subject.settings.vaptekesync_driver
    library = odbc_driver.library_of(name) if name else str(connection_string.microsoft_driver())
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise legacy_errors.driver_not_loaded(str(error)) from None
    return ok(f"{library} can be loaded")


async def server(subject: Subject) -> Verdict:
    await port_check.check(subject.settings)
    return ok(f"{legacy_errors.address(subject.settings)} accepts connections")


async def tls(subject: Subject) -> Verdict:
    """Log in, once for both this check and `login`: a policy of the server may count refused passwords."""
    try:
        async with connect(subject.settings):
            pass
    except LegacyError as error:
        subject.login_error = error
    match subject.login_error:
        case TlsFailed():
            return failure(subject.login_error)
        case DriverUnusable():
            return unknown("not checked, because the driver failed first; see `login`")
        case None | LegacyMisconfigured() | DatabaseClosed():  # the server answered over this connection
            return _trust(subject.settings)
        case _:
            return unknown("the connection ended before TLS was known to work; see `login`")


def _trust(settings: LegacySettings) -> Verdict:
    if settings.vaptekesync_encrypt == "no":
        return warning(
            "VAPTEKESYNC_ENCRYPT=no: anybody who listens on the network can read the rows, and the certificate is not "
            "checked. Set it to yes, unless the network is closed"
        )
    if settings.vaptekesync_trust_server_certificate:
        return warning(
            "VAPTEKESYNC_TRUST_SERVER_CERTIFICATE=true: anybody who can redirect the connection can read the password. "
            "Set VAPTEKESYNC_SSLROOTCERT instead, unless the network is closed"
        )
    trusted = settings.vaptekesync_sslrootcert or "the system's authorities"
    return ok(f"encrypted; the certificate is trusted by {trusted}")


async def login(subject: Subject) -> Verdict:
    settings, error = subject.settings, subject.login_error
    if error:
        return failure(error)
    return ok(f"{settings.vaptekesync_user} may open the database {settings.vaptekesync_db}")


async def clock(subject: Subject) -> Verdict:
    async with connect(subject.settings) as connection:
        ahead = (await legacy.clock(connection) - datetime.now(UTC)).total_seconds()
    if abs(ahead) <= _CLOCK_SECONDS:
        return ok(f"vAptekeSync's clock and this machine's differ by less than {_CLOCK_SECONDS} s")
    direction = "ahead of" if ahead > 0 else "behind"
    return warning(
        f"vAptekeSync's clock is {abs(ahead):,.0f} s {direction} this machine's: set the clock that is wrong"
    )
