"""A small legacy table that changes at random: some values are such as only earlier releases accepted."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import normalize

from legacy_events import Attempt
from reference_model import FIELDS, FUTURE, NO_BIRTHDAY, Row
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

DAY = datetime(2024, 1, 1, tzinfo=UTC)
VALUES: dict[str, list[Any]] = {
    "firstname": [None, "Анна", "Виктор", "Андрей", normalize("NFD", "Андрей")],
    "lastname": [None, "Иванов", "Ким", "Цой", normalize("NFD", "Цой"), "Ким\u200b"],
    "email": [None, "a@example.com", "b@example.com"],
    "birthday": [None, DAY.date(), NO_BIRTHDAY],
    "gender": [None, "M", "F"],
    "city_id": [None, 0, 7],
    "last_auth_at": [None, DAY + timedelta(days=9), DAY + timedelta(days=19), FUTURE],
}


class LegacyTable:
    """`rows` by legacy id. Each change is drawn from the generator that it gets."""

    def __init__(self, phones: Sequence[str], ids: Sequence[int]) -> None:
        self._phones, self._ids = phones, ids
        self.rows = dict[int, Row]()

    def change(self, draw: random.Random) -> None:
        """A row changes one value, or appears."""
        legacy_id = draw.choice(self._ids)
        name = draw.choice([*FIELDS, "phone", "phone", "last_auth_at"])
        row = self.rows.get(legacy_id)
        self.rows[legacy_id] = self._new(draw) if row is None else self._changed(draw, row, name)

    def ring(self, draw: random.Random) -> None:
        """Two or three rows pass their phones on."""
        if len(self.rows) < 3:
            return
        ids = draw.sample(sorted(self.rows), draw.choice([2, 3]))
        rows = [self.rows[legacy_id] for legacy_id in ids]
        for legacy_id, row, before in zip(ids, rows, [rows[-1], *rows], strict=False):
            self.rows[legacy_id] = replace(row, phone=before.phone)

    def remove(self, draw: random.Random) -> None:
        if self.rows:
            del self.rows[draw.choice(sorted(self.rows))]

    def _new(self, draw: random.Random) -> Row:
        row = Row(draw.choice(self._phones), {name: draw.choice(VALUES[name]) for name in FIELDS})
        return self._changed(draw, row, "last_auth_at")

    def _changed(self, draw: random.Random, row: Row, name: str) -> Row:
        if name == "phone":
            return replace(
                row, phone=draw.choice([*self._phones, None]), reason=draw.choice(["missing", "two_numbers"])
            )
        if name == "last_auth_at":
            return replace(
                row, last_auth_at=draw.choice([None, FUTURE, *[DAY + timedelta(days=draw.randrange(30))] * 4])
            )
        if draw.random() < 0.2:
            return replace(row, fields={**row.fields, name: None}, unusable=row.unusable | {name})
        return replace(row, fields={**row.fields, name: draw.choice(VALUES[name])}, unusable=row.unusable - {name})


def event(attempt: Attempt, legacy_id: int, row: Row) -> LegacyCustomerRead | LegacyCustomerRejected:
    """The row as an importer reads it."""
    if row.phone is None:
        return attempt.rejected(legacy_id, row.reason)
    unusable = dict.fromkeys(row.unusable, "too_long") or None
    return attempt.read(legacy_id, row.phone, last_auth_at=row.last_auth_at, unusable=unusable, **row.fields)
