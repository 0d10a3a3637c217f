"""TLS to Kafka and Postgres, and why a connection cannot be made: the side, the place and the variable to check."""

import os
import ssl
from functools import cache

import asyncpg
from aiokafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from vapteke_shared import addresses
from vapteke_shared.settings import KafkaSettings, PostgresOwnerSettings, PostgresSettings

_OTHER_NAME = (62, 64)  # OpenSSL's numbers for a certificate of another host or address


class Unavailable(OSError):
    """It does not answer, or not now, in words for operators: a further attempt may succeed."""


class Unfit(Unavailable):
    """Certificate, login or protocol are not as the settings say: no attempt will succeed."""


def told(error: BaseException, prefix: str = "") -> str:
    """The error; where its text may hold values, its name after the prefix."""
    if isinstance(error, Unavailable):
        return str(error)
    state = getattr(error, "sqlstate", None)
    name = f"{type(error).__name__} ({state})" if state else type(error).__name__
    return f"{prefix}: {name}" if prefix else name


def kafka_tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    return _context(settings.kafka_ssl_cafile) if settings.kafka_security_protocol.endswith("SSL") else None


@cache
def _context(cafile: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def postgres_tls(settings: PostgresSettings) -> ssl.SSLContext | str:
    """What asyncpg takes, with libpq's meaning: `require` looks at the certificate only where a root is given."""
    mode, root = settings.postgres_sslmode, settings.postgres_sslrootcert
    if mode in ("disable", "prefer"):
        return mode
    context = ssl.create_default_context(cafile=root)
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    return context


def kafka_fault(settings: KafkaSettings, address: str, error: BaseException) -> Unavailable:
    """What a connection to one broker has met."""
    where, protocol = f"Kafka at {address}", settings.kafka_security_protocol
    match error:
        case ssl.SSLCertVerificationError():
            return _untrusted(where, error, "KAFKA_SSL_CAFILE", "KAFKA_BOOTSTRAP_SERVERS")
        case SaslAuthenticationFailed():
            return Unfit(f"{where} refuses the login: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        case UnsupportedSaslMechanismError():
            return Unfit(f"{where} does not know {settings.kafka_sasl_mechanism}: check KAFKA_SASL_MECHANISM")
        case IllegalSaslStateError():
            return Unfit(f"{where} wants no login: check KAFKA_SECURITY_PROTOCOL and the port")
        case OSError() if (reason := _away(error)) is not None:
            return Unavailable(f"{where} {reason}: check KAFKA_BOOTSTRAP_SERVERS")
    return Unavailable(f"{where} breaks off the connection: does it speak {protocol}? Check KAFKA_SECURITY_PROTOCOL")


def postgres_fault(settings: PostgresSettings, place: tuple[str, int], error: BaseException) -> BaseException:
    """What a connection to one host has met, in words where it has none; else the same error."""
    where = f"Postgres at {addresses.written(*place)}"
    role = "POSTGRES_OWNER" if isinstance(settings, PostgresOwnerSettings) else "POSTGRES"
    match error:
        case Unavailable():
            return error
        case ssl.SSLCertVerificationError():
            return _untrusted(where, error, "POSTGRES_SSLROOTCERT", "POSTGRES_HOST")
        case asyncpg.InvalidPasswordError():
            return Unfit(f"{where} refuses the login: check {role}_USER and {role}_PASSWORD")
        case asyncpg.InvalidAuthorizationSpecificationError():
            names = f"POSTGRES_SSLMODE, {role}_USER and POSTGRES_DB"
            return Unfit(f"{where} does not let this user in so: check {names}, or its pg_hba.conf")
        case asyncpg.InvalidCatalogNameError():
            return Unfit(f"{where} has no such database: check POSTGRES_DB")
        case ConnectionError() if "rejected SSL" in str(error):
            return Unfit(f"{where} speaks no TLS: check POSTGRES_SSLMODE")
        case OSError() if (reason := _away(error)) is not None:
            return Unavailable(f"{where} {reason}: check POSTGRES_HOST and POSTGRES_PORT")
        case OSError() | asyncpg.ConnectionDoesNotExistError():
            lead = "check that POSTGRES_HOST and POSTGRES_PORT lead to a Postgres that is running"
            return Unavailable(f"{where} closes the connection: {lead}")
    return error


def _untrusted(where: str, error: ssl.SSLCertVerificationError, authority: str, host: str) -> Unfit:
    is_other = error.verify_code in _OTHER_NAME
    what = "is for another name" if is_other else "is not trusted"
    reason = error.verify_message.rstrip(".")
    return Unfit(f"{where}: its certificate {what} ({reason}): check {host if is_other else authority}")


def _away(error: OSError) -> str | None:
    """Why it is out of reach; None: it was reached."""
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return None
    if isinstance(error, ConnectionError) and error.errno is None:  # asyncpg's and asyncio's own, when it hangs up
        return None
    known = error.errno is not None and error.errno > 0  # a name that is not found has a number of its own
    return f"cannot be reached ({os.strerror(error.errno or 0) if known else error.strerror or error})"
