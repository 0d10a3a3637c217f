"""TLS to Postgres, and clear errors when a connection to Postgres fails."""

import ssl

import asyncpg

from vapteke_shared.process import addresses
from vapteke_shared.process.connection_errors import (
    Misconfigured,
    Unavailable,
    unreachable_reason,
    untrusted_certificate,
)
from vapteke_shared.process.settings import PostgresOwnerSettings, PostgresSettings


def tls(settings: PostgresSettings) -> ssl.SSLContext | str:
    """The `ssl` argument for asyncpg. For `disable` and `prefer` it is the mode itself: no certificate is verified.

    As in libpq, `require` verifies the certificate only if POSTGRES_SSLROOTCERT is set. Unlike libpq, `verify-ca` and
    `verify-full` trust the system's authorities if that variable is not set.
    """
    mode, root = settings.postgres_sslmode, settings.postgres_sslrootcert
    if mode in ("disable", "prefer"):
        return mode
    context = ssl.create_default_context(cafile=root)
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    return context


def explain(settings: PostgresSettings, address: tuple[str, int], error: BaseException) -> BaseException:
    """The error to raise when the connection to one host has failed with `error`.

    A known cause becomes an Unavailable or a Misconfigured with a text for operators. Any other error is returned
    unchanged.
    """
    where = f"Postgres at {addresses.written(*address)}"
    role = "POSTGRES_OWNER" if isinstance(settings, PostgresOwnerSettings) else "POSTGRES"
    match error:
        case Unavailable():
            return error
        case ssl.SSLCertVerificationError():
            return untrusted_certificate(where, error, "POSTGRES_SSLROOTCERT", "POSTGRES_HOST")
        case asyncpg.InvalidPasswordError():
            return Misconfigured(f"{where} rejects the login: check {role}_USER and {role}_PASSWORD")
        case asyncpg.InvalidAuthorizationSpecificationError():
            names = f"POSTGRES_SSLMODE, {role}_USER and POSTGRES_DB"
            return Misconfigured(f"{where} does not let this user in: check {names}, or its pg_hba.conf")
        case asyncpg.InvalidCatalogNameError():
            return Misconfigured(f"{where} has no such database: check POSTGRES_DB")
        case ConnectionError() if "rejected SSL" in str(error):
            return Misconfigured(f"{where} does not support TLS: check POSTGRES_SSLMODE")
        case OSError() if (reason := unreachable_reason(error)) is not None:
            return Unavailable(f"{where} {reason}: check POSTGRES_HOST and POSTGRES_PORT")
        case OSError() | asyncpg.ConnectionDoesNotExistError():
            lead = "check that POSTGRES_HOST and POSTGRES_PORT lead to a Postgres that is running"
            return Unavailable(f"{where} closes the connection: {lead}")
    return error
