"""Consumes the topic of customers and applies deletions, restorations and erasures."""

from collections.abc import Sequence

import asyncpg
import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Counter
from vapteke_shared.contract import topics
from vapteke_shared.messaging.batch_consumer import BatchConsumer
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.process import logs
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import WorkSettings

from favorites_api import deleted_customers
from favorites_api.deleted_customers import CustomerId, CustomerState

RESET = "favorites-api offsets reset"
_decode = msgspec.json.Decoder(CustomerState).decode
_decode_id = msgspec.json.Decoder(CustomerId).decode

log = logs.get(__name__)
skipped_records = Counter("vapteke_passed_over_records", "Records skipped because they could not be decoded", ["topic"])
skipped_records.labels(topics.CUSTOMERS.name)


class CustomersConsumer:
    """Consumes `vapteke.customers.v1`. `run` is a loop of the process `favorites-api work`."""

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, health: Health) -> None:
        self._pool = pool
        consumer = BatchConsumer(
            settings,
            pool,
            health,
            topics.CUSTOMERS.name,
            "favorites-api.customers",
            self.apply,
            reset_command=RESET,
            max_records=5_000,
        )
        self.run = consumer.run

    async def apply(self, records: Sequence[ConsumerRecord], cluster: Cluster, reached: Reached) -> None:
        """Apply a batch, each record once. A record that cannot be decoded is skipped, counted and logged.

        Raises errors of Postgres, AheadOfStoredOffset and KafkaReplaced, which BatchConsumer handles.
        """
        decoded = [(record, _state(record)) for record in records]
        async with self._pool.acquire() as connection:
            skipped = await deleted_customers.apply(connection, decoded, cluster, reached)
        for record, error in skipped:
            _report_skipped(record, type(error).__name__)


def _state(record: ConsumerRecord) -> CustomerState | Exception:
    """The state of the customer in a record. If the record cannot be decoded, the error is returned, not raised.

    The type of the event does not matter, because every event has the whole state. A null value means that the customer
    in the key was erased.
    """
    try:
        if record.value is None:
            return deleted_customers.erased(_decode_id(record.key or b""))
        return _decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        return error


def _report_skipped(record: ConsumerRecord, reason: str) -> None:
    """Count and log a record that cannot be decoded.

    Call this after the commit of the transaction that skips the record, so that a retry does not count the record
    twice. The topic keeps the record until the next event of the same customer (docs/kafka.md).
    """
    skipped_records.labels(record.topic).inc()
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    log.error("skipped a record that cannot be decoded", origin=origin, reason=reason)
