"""The rules of an import on dictionaries instead of tables, beside the model that they have to agree with.

Before each import the tables are made from the model, so what the API does happens in the model alone.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any
from uuid import UUID, uuid4

import msgspec
from customers_api.customers.tables import FIELDS
from customers_api.imports import field_rules, rules
from customers_api.imports.decoding import LegacyEvent
from customers_api.imports.state import (
    AppliedRow,
    Class,
    Context,
    CustomerChange,
    Decision,
    Incoming,
    LoadedCustomer,
    Locked,
    Mirror,
    Settled,
)
from legacy_events import Attempt
from legacy_table import DAY, VALUES, LegacyTable, event
from reference_model import FIELDS as MODEL_FIELDS
from reference_model import FUTURE, Model, Person, Reading, Taken, Unknown
from reference_model import Mirror as ModelMirror

PHONES = [f"7902516{number:04}" for number in range(5)]
LEGACY_IDS = range(1, 8)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
JUMPS = [timedelta(seconds=1)] * 4 + [timedelta(days=1, seconds=1), timedelta(days=-400)]


class Tables:
    """Customers and mirror rows, as `batch_state` would load them."""

    def __init__(self, model: Model) -> None:
        rows = {mirror.customer_id: legacy_id for legacy_id, mirror in model.mirrors.items()}
        self.customers = {key: _customer(key, person, rows, model.mirrors) for key, person in model.people.items()}
        self.mirrors = {legacy_id: _mirror(mirror) for legacy_id, mirror in model.mirrors.items()}
        self.readings: list[tuple[UUID, datetime, set[int]]] = []

    def apply(self, import_id: UUID, events: Sequence[LegacyEvent]) -> list[Class]:
        """What `apply` does in a transaction. Returns the class of each event."""
        incoming = [Incoming(0, each) for each in events]
        context = Context(import_id, NOW, self._read_later(events))
        mirrors = {each.legacy_id: self._loaded(each.legacy_id) for each in events if each.legacy_id in self.mirrors}
        unchanged, others = rules.split_unchanged(incoming, _settled(context, mirrors))
        comparison = rules.compare(context, others, mirrors)
        decision = rules.decide(context, comparison, self._locked(comparison.rows))
        self._write(decision)
        for attempt in {each.attempt for each in events}:
            read = [each for each in events if each.attempt == attempt]
            self.readings.append((attempt, read[0].read_at, {each.legacy_id for each in read}))
        return [*repeat("unchanged", len(unchanged)), *decision.classes]

    def _read_later(self, events: Sequence[LegacyEvent]) -> dict[int, datetime]:
        attempts, later = {each.attempt for each in events}, dict[int, datetime]()
        for attempt, at, legacy_ids in self.readings:
            if attempts - {attempt}:
                later |= {key: max(at, later.get(key, at)) for key in legacy_ids}
        return later

    def _loaded(self, legacy_id: int) -> Mirror:
        mirror = self.mirrors[legacy_id]
        customer = self.customers[mirror.customer_id]
        return mirror._replace(
            customer_phone=customer.phone,
            customer_last_auth_at=customer.values[-1],
            customer_is_deleted=not customer.is_active,
        )

    def _locked(self, rows: Sequence[AppliedRow]) -> Locked:
        phones = rules.phones_to_decide(rows)
        known = {row.customer_id for row in rows if not row.is_new}
        customers = {
            key: msgspec.structs.replace(each)
            for key, each in self.customers.items()
            if key in known or each.named_phone in phones or (each.phone in phones and each.is_active)
        }
        first = max(self.customers, default=0) + 1
        return Locked(dict.fromkeys(phones, 0), customers, NOW, range(first, first + len(rows)))

    def _write(self, decision: Decision) -> None:
        for customer_id in decision.accepted:
            self.customers[customer_id].phone_from = "import"
        for customer_id in decision.losers:
            self.customers[customer_id].phone = None
        for change in (*decision.created, *decision.changed):
            self._write_change(change)
        for row in decision.rows:
            self._write_mirror(row, decision.classes[row.index])

    def _write_change(self, change: CustomerChange) -> None:
        """One event per customer and transaction, and no phone with two active holders at any moment."""
        customer = change.customer
        before = self.customers.get(customer.id)
        assert (before is None) == (change.kind == "created")
        assert customer.version == (before.version + 1 if before else 1)
        assert change.fields or change.kind == "created"
        self.customers[customer.id] = customer
        held = [each.phone for each in self.customers.values() if each.phone and each.is_active]
        assert len(held) == len(set(held))

    def _write_mirror(self, row: AppliedRow, kind: Class) -> None:
        before, read = row.mirror, row.event
        counted_as = kind if before is None or kind != "rejected" else before.counted_as
        mirror = Mirror(
            row.customer_id, row.phone, row.values, read.read_at, read.number, counted_as, None, None, False
        )
        self.mirrors[read.legacy_id] = mirror
        customer = self.customers[row.customer_id]
        customer.legacy_id, customer.named_phone = read.legacy_id, row.phone
        customer.named_last_auth_at = row.values[-1]

    def as_model(self) -> tuple[dict[int, Person], dict[int, ModelMirror]]:
        people = {key: _person(each) for key, each in self.customers.items()}
        mirrors = {
            key: ModelMirror(
                each.customer_id, each.phone, dict(zip(MODEL_FIELDS, each.values, strict=False)), each.values[-1]
            )
            for key, each in self.mirrors.items()
        }
        return people, mirrors


class RuleHistory:
    """A history of API calls, legacy changes and imports, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._draw, self._clock = random.Random(seed), DAY + timedelta(days=365)
        self.model, self.legacy = Model(), LegacyTable(PHONES, LEGACY_IDS)

    def run(self, steps: int) -> None:
        """Raises AssertionError when rules and model disagree."""
        for _ in range(steps):
            [kind] = self._draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
            getattr(self, f"_{kind}")()

    def _legacy(self) -> None:
        self._draw.choice([self.legacy.change] * 8 + [self.legacy.ring, self.legacy.remove])(self._draw)

    def _earlier_release(self) -> None:
        """All mirror rows are of a release that knew no dispatch numbers and accepted a sign-in in the future."""
        for key, mirror in self.model.mirrors.items():
            last_auth_at = FUTURE if self._draw.random() < 0.2 else mirror.last_auth_at
            self.model.mirrors[key] = replace(mirror, read_in=0, last_auth_at=last_auth_at)
        self.model.people = self.model.decided().people

    def _api(self) -> None:
        draw, people = self._draw, sorted(self.model.people)
        phone, fields = draw.choice(PHONES), self._some_fields()
        try:
            match draw.choice(["create", "update", "update", "phone", "delete", "restore"]):
                case "create":
                    self.model.check_free(phone)
                    self.model.create(max(people, default=0) + 1, phone, fields)
                case "update" if people:
                    self.model.update(draw.choice(people), fields)
                case "phone" if people:
                    person = draw.choice(people)
                    named = [each.phone for each in self.model.mirrors.values() if each.customer_id == person]
                    self.model.change_phone(person, draw.choice([phone, *filter(None, named)]))
                case "delete" if people:
                    self.model.delete(draw.choice(people))
                case "restore" if people:
                    self.model.restore(draw.choice(people))
        except (Taken, Unknown):
            pass  # refused by the rule of the API

    def _some_fields(self) -> dict[str, Any]:
        names = self._draw.sample([*MODEL_FIELDS, "last_auth_at"], self._draw.randrange(1, 4))
        return {name: self._draw.choice(VALUES[name]) for name in names}

    def _import(self) -> None:
        readings = [self._reading()]
        if self._draw.random() < 0.5:  # an attempt that breaks off, perhaps a change, and another attempt
            some = {key: row for key, row in self.legacy.rows.items() if self._draw.random() < 0.6}
            lost = replace(readings[0], rows=some, won=False)
            for _ in range(self._draw.randrange(3)):
                self.legacy.change(self._draw)
            late = {key: row for key, row in some.items() if self._draw.random() < 0.3}
            readings = [lost, self._reading(), replace(lost, rows=late)]  # some of its events come after all
        self._imported(readings)

    def _reading(self) -> Reading:
        self._clock += self._draw.choice(JUMPS)
        return Reading(dict(self.legacy.rows), self._clock)

    def _imported(self, readings: Sequence[Reading]) -> None:
        tables, import_id, number = Tables(self.model), uuid4(), self.model.imports + 1
        attempts = {each.at: Attempt(import_id, read_at=each.at, number=number) for each in readings}
        classes = Counter[Class]()
        for reading in readings:
            for events in self._batches(attempts[reading.at], reading):
                ended = tables.apply(import_id, events)
                classes.update(ended if reading.won else ())
        belongs = {legacy_id: mirror.customer_id for legacy_id, mirror in tables.mirrors.items()}
        assert self.model.apply(readings, belongs) == classes
        people, mirrors = tables.as_model()
        assert people == self.model.people
        assert mirrors == self.model.mirrors

    def _batches(self, attempt: Attempt, reading: Reading) -> Iterator[list[LegacyEvent]]:
        waiting = [
            event(attempt, key, reading.rows[key]) for key in self._draw.sample(sorted(reading.rows), len(reading.rows))
        ]
        while waiting:
            size = self._draw.randrange(1, len(waiting) + 1)
            yield waiting[:size]
            del waiting[:size]


WEIGHTS = {"legacy": 12, "api": 8, "import": 5, "earlier_release": 1}


def _customer(
    customer_id: int, person: Person, rows: Mapping[int, int], mirrors: Mapping[int, ModelMirror]
) -> LoadedCustomer:
    values = (*(person.fields[name] for name in FIELDS[:-1]), person.last_auth_at)
    legacy_id = rows.get(customer_id)
    mirror = mirrors[legacy_id] if legacy_id is not None else None
    return LoadedCustomer(
        customer_id, 1, person.phone, person.phone_from, values, NOW, NOW, NOW if person.deleted else None, legacy_id,
        mirror and mirror.phone, mirror and mirror.last_auth_at,
    )  # fmt: skip


def _mirror(mirror: ModelMirror) -> Mirror:
    values = (*(mirror.fields[name] for name in FIELDS[:-1]), mirror.last_auth_at)
    number = mirror.read_in or None
    return Mirror(mirror.customer_id, mirror.phone, values, mirror.read_at, number, None, None, None, False)


def _settled(context: Context, mirrors: Mapping[int, Mirror]) -> dict[int, Settled]:
    """What `batch_state.load_settled` would load."""
    return {
        legacy_id: (mirror.phone, *mirror.values)
        for legacy_id, mirror in mirrors.items()
        if mirror.counted_as is None
        and not mirror.customer_is_deleted
        and not field_rules.is_after(mirror.values[-1], context.tomorrow)
        and not field_rules.is_after(mirror.customer_last_auth_at, context.tomorrow)
    }


def _model_mirror(mirror: Mirror) -> ModelMirror:
    *fields, last_auth_at = mirror.values
    return ModelMirror(mirror.customer_id, mirror.phone, dict(zip(MODEL_FIELDS, fields, strict=True)), last_auth_at)


def _person(customer: LoadedCustomer) -> Person:
    *fields, last_auth_at = customer.values
    return Person(
        customer.phone,
        customer.phone_from,
        dict(zip(MODEL_FIELDS, fields, strict=True)),
        last_auth_at,
        customer.deleted_at is not None,
    )
