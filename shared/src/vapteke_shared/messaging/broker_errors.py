"""TLS to Kafka, and clear errors when a connection to a broker fails."""

import ssl
from functools import cache

from aiokafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from vapteke_shared.process.connection_errors import (
    Misconfigured,
    Unavailable,
    unreachable_reason,
    untrusted_certificate,
)
from vapteke_shared.process.settings import KafkaSettings


def tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    return _context(settings.kafka_ssl_cafile) if settings.kafka_security_protocol.endswith("SSL") else None


@cache
def _context(cafile: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def explain(settings: KafkaSettings, address: str, error: BaseException) -> Unavailable:
    """An error for the caller to raise: it explains to operators why the broker at `address` cannot be used.

    The error is a Misconfigured when the certificate or the login is at fault, else an Unavailable.
    """
    where, protocol = f"Kafka at {address}", settings.kafka_security_protocol
    match error:
        case ssl.SSLCertVerificationError():
            return untrusted_certificate(where, error, "KAFKA_SSL_CAFILE", "KAFKA_BOOTSTRAP_SERVERS")
        case SaslAuthenticationFailed():
            return Misconfigured(f"{where} rejects the login: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        case UnsupportedSaslMechanismError():
            return Misconfigured(
                f"{where} does not support {settings.kafka_sasl_mechanism}: check KAFKA_SASL_MECHANISM"
            )
        case IllegalSaslStateError():
            return Misconfigured(f"{where} does not expect a login: check KAFKA_SECURITY_PROTOCOL and the port")
        case OSError() if (reason := unreachable_reason(error)) is not None:
            return Unavailable(f"{where} {reason}: check KAFKA_BOOTSTRAP_SERVERS")
    return Unavailable(f"{where} closes the connection, as if it did not use {protocol}: check KAFKA_SECURITY_PROTOCOL")
