"""Rejects the dates that asyncpg writes as infinity: consumers of customer events could not read them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

from customers_api.imports.state import Row

_ENDLESS: Final = (date.min, date.max, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def check(rows: Iterable[Row]) -> None:
    """Raise DataError if Postgres would not store a date of a row's event as it is."""
    for row in rows:
        if isinstance(row.event, LegacyCustomerRead):
            check_moment(row.event.birthday)
            check_moment(row.event.last_auth_at)


def check_moment(moment: date | None) -> None:
    """Raise DataError if Postgres would not store the date or instant as it is."""
    try:
        in_utc = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    except OverflowError:
        raise asyncpg.DatetimeFieldOverflowError("an instant that does not exist in UTC") from None
    if in_utc in _ENDLESS:
        raise asyncpg.DatetimeFieldOverflowError("a date that would be stored as infinity")
