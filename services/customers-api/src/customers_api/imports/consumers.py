"""The Kafka consumers of `customers-api work`: legacy customers in batches, the importers' progress event by event."""

import time
from collections import deque
from collections.abc import Sequence

import asyncpg
from aiokafka import ConsumerRecord
from prometheus_client import Histogram
from vapteke_shared.contract import topics
from vapteke_shared.messaging.batch_consumer import BatchConsumer
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.process import logs
from vapteke_shared.process.health import Health

from customers_api.imports import apply, decoding, legacy_batches, outcomes, progress
from customers_api.settings import WorkSettings

RESET = "customers-api offsets reset"
_BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

log = logs.get(__name__)
batch_rows = Histogram("vapteke_batch_rows", "Events in a batch", buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10000))
batch_seconds = Histogram("vapteke_batch_seconds", "Time to apply a batch")


class ImportConsumers:
    """The consumers `legacy` and `progress`. The caller must run both.

    A record with bad data becomes a rejection or a dead letter, and does not stop its consumer. On any other error,
    BatchConsumer waits and applies the batch again.
    """

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, health: Health) -> None:
        self._pool, self._in_flight = pool, settings.import_ranges_in_flight
        self.legacy = BatchConsumer(
            settings,
            pool,
            health,
            topics.LEGACY_CUSTOMERS.name,
            "customers-api.legacy-customers",
            self.apply_legacy,
            reset_command=RESET,
            max_records=settings.import_batch_rows,
            fetch_min_bytes=128 * 1024,
        )
        self.progress = BatchConsumer(
            settings,
            pool,
            health,
            topics.IMPORT_PROGRESS.name,
            "customers-api.import-progress",
            self.apply_progress,
            reset_command=RESET,
            max_records=100,
        )

    async def apply_legacy(self, records: Sequence[ConsumerRecord], cluster: Cluster, reached: Reached) -> None:
        """Apply a batch, each record once, and report the outcome.

        This is one transaction, with three exceptions. A second event of one legacy row begins another transaction, and
        so does an event of another import. A part that the database rejects is halved until the bad record is alone: it
        becomes the rejection of its row or, if the database rejects that too, a dead letter.
        """
        started = time.monotonic()
        waiting = deque(legacy_batches.divide([decoding.legacy_customer(record) for record in records]))
        async with self._pool.acquire() as connection, self._pool.acquire() as names:
            while waiting:
                batch = waiting.popleft()
                try:
                    outcomes.report(await apply.apply(connection, names, batch, cluster, reached))
                except _BAD_DATA as error:
                    log.warning("the database rejects a batch", records=len(batch), sqlstate=error.sqlstate)
                    waiting.extendleft(reversed(legacy_batches.without_bad_data(batch, error)))
        batch_rows.observe(len(records))
        batch_seconds.observe(time.monotonic() - started)

    async def apply_progress(self, records: Sequence[ConsumerRecord], cluster: Cluster, reached: Reached) -> None:
        """Apply each event in a transaction of its own, and report its outcome.

        There are few events, and a bad one must not hold up the others: it becomes a dead letter.
        """
        async with self._pool.acquire() as connection:
            for decoded in map(decoding.progress, records):
                try:
                    outcome = await progress.apply(connection, decoded, cluster, reached, self._in_flight)
                except _BAD_DATA as error:
                    log.warning("the database rejects a progress event", sqlstate=error.sqlstate)
                    letter = decoding.rejected_by_database(decoded.record)
                    outcome = await progress.apply(connection, letter, cluster, reached, self._in_flight)
                outcomes.report(outcome)
