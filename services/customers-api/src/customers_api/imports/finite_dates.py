"""Rejects dates that asyncpg would write as infinity, which consumers of customer events could not read, and instants
that do not exist in UTC. The error is a DataError, as if the database had rejected the date, so the record is treated
as bad data.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

from customers_api.imports.state import AppliedRow, Incoming

_STORED_AS_INFINITY: Final = (date.min, date.max, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def check_readings(incoming: Iterable[Incoming]) -> None:
    """Raise DataError if Postgres would not store the `read_at` of an event as it is."""
    for read_at in {event.read_at for _, event in incoming}:
        _check(read_at)


def check_rows(rows: Iterable[AppliedRow]) -> None:
    """Raise DataError if Postgres would not store the birthday or sign-in of a row as it is, but as infinity.

    They come from the row's event, as the importer has sent it; a rejected row has none. Call this before the writes.
    """
    for row in rows:
        if isinstance(row.event, LegacyCustomerRead):
            _check(row.event.birthday)
            _check(row.event.last_auth_at)


def _check(moment: date | None) -> None:
    try:
        in_utc = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    except OverflowError:
        raise asyncpg.DatetimeFieldOverflowError("an instant that does not exist in UTC") from None
    if in_utc in _STORED_AS_INFINITY:
        raise asyncpg.DatetimeFieldOverflowError("a date that would be stored as infinity")
