"""Creates FastStream's broker from our settings. The broker only consumes: we send with aiokafka's producers."""

from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from vapteke_shared.messaging import broker_errors
from vapteke_shared.process.settings import KafkaSettings


def create_broker(settings: KafkaSettings) -> KafkaBroker:
    return KafkaBroker(
        settings.kafka_bootstrap_servers,
        security=_security(settings),
        consumer_only=True,  # its producer would ask for the right to write, which not every service has
        allow_auto_create_topics=False,
        metadata_max_age_ms=10_000,  # how soon new partitions are consumed
        apply_types=False,
        logger=None,
        graceful_timeout=20,
    )


def _security(settings: KafkaSettings) -> BaseSecurity:
    tls, password = broker_errors.tls(settings), settings.kafka_sasl_password
    if settings.kafka_sasl_username is None or password is None or "SASL" not in settings.kafka_security_protocol:
        return BaseSecurity(tls)
    kind = {"SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}.get(
        settings.kafka_sasl_mechanism or "", SASLPlaintext
    )
    return kind(settings.kafka_sasl_username, password.get_secret_value(), tls)
