"""Counts orphans: mirror rows whose customer or phone does not exist.

The mirror has no foreign keys that would prevent orphans (docs/decisions.md, 34).
"""

import asyncpg
from prometheus_client import Gauge
from vapteke_shared.contract import limits
from vapteke_shared.process import logs

_SLICE_ROWS = 5_000
_BEFORE_ALL = limits.INT64_MIN

log = logs.get(__name__)
orphans = Gauge("vapteke_mirror_orphans", "Mirror rows whose customer or phone does not exist", ["missing"])
orphans.labels("customer")
orphans.labels("phone")


class OrphanCount:
    """Counts the orphans of the whole mirror, one slice per call of `advance`, in the order of the legacy ids.

    A count begins with the first call, and again after `repeat`. The metric shows the last complete count.
    """

    def __init__(self) -> None:
        self._is_due = True
        self._last_id: int | None = None
        self._customers = self._phones = 0

    def repeat(self) -> None:
        """Request one more count. `advance` begins it once the current count, if any, is complete."""
        self._is_due = True

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Count the next slice if a count is running or requested; otherwise do nothing.

        When the count is complete, set the metric, and log an error if there are orphans.
        """
        if self._last_id is None:
            if not self._is_due:
                return
            self._is_due, self._last_id = False, _BEFORE_ALL
        self._last_id, customers, phones = await connection.fetchrow(_COUNT, self._last_id, _SLICE_ROWS)
        self._customers += customers
        self._phones += phones
        if self._last_id is None:
            self._complete()

    def _complete(self) -> None:
        show(self._customers, self._phones)
        if self._customers or self._phones:
            log.error("mirror rows without their customer or phone", customers=self._customers, phones=self._phones)
        self._customers = self._phones = 0


def show(customers: int, phones: int) -> None:
    """Set the two values of the metric.

    `customers` is the number of mirror rows whose customer does not exist. `phones` is the number of mirror rows whose
    phone does not exist.
    """
    orphans.labels("customer").set(customers)
    orphans.labels("phone").set(phones)


# LATERAL with LIMIT makes it look up each row: no plan reads the whole of a large table for some thousand rows.
_COUNT = """
SELECT
    max(m.legacy_id), count(*) FILTER (WHERE c.id IS NULL),
    count(*) FILTER (WHERE m.phone_id IS NOT NULL AND p.id IS NULL)
FROM (
    SELECT legacy_id, customer_id, phone_id FROM legacy_customers WHERE legacy_id > $1 ORDER BY legacy_id LIMIT $2
) AS m
LEFT JOIN LATERAL (SELECT id FROM customers c WHERE c.id = m.customer_id LIMIT 1) AS c ON true
LEFT JOIN LATERAL (SELECT id FROM phones p WHERE p.id = m.phone_id LIMIT 1) AS p ON true
"""
