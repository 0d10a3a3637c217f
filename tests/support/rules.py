"""The rules by which imports and the API change customers (design, section 5), in plain Python.

Who owns a phone is worked out anew for all phones after each step: the database decides only those concerned, and has
to come to the same.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

FIELDS = ("firstname", "lastname", "email", "birthday", "gender", "city_id")

Fields = dict[str, Any]


class Taken(Exception):
    """Another living customer holds the phone."""


class Unknown(Exception):
    """There is no such customer, or it is deleted."""


@dataclass
class Person:
    """A customer. `phone_from` says who gave the phone."""

    phone: str | None = None
    phone_from: Literal["api", "import"] | None = None
    fields: Fields = field(default_factory=lambda: dict.fromkeys(FIELDS))
    last_auth_at: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Row:
    """A legacy row as it is read; no phone: rejected. What is `unusable` has no value."""

    phone: str | None
    fields: Fields
    last_auth_at: datetime | None = None
    unusable: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mirror:
    """What was last applied of a legacy row, and to whom."""

    customer_id: int
    phone: str
    fields: Fields
    last_auth_at: datetime | None
    read_at: datetime = field(compare=False, default=datetime.min)


@dataclass(frozen=True)
class Reading:
    """The rows that an attempt has read, in the order in which each row's events arrive."""

    rows: Mapping[int, Row]
    at: datetime
    won: bool = True


@dataclass
class Model:
    people: dict[int, Person] = field(default_factory=dict)
    mirrors: dict[int, Mirror] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    """Of the rows that the last import has written: read again, they count as they first ended."""

    # what the API does

    def create(self, customer_id: int, phone: str, fields: Fields) -> None:
        """The phone is free: `check_free`."""
        self.people[customer_id] = Person(phone, "api")
        self.update(customer_id, fields)

    def check_free(self, phone: str) -> None:
        """Raises Taken."""
        if any(person.phone == phone and not person.deleted for person in self.people.values()):
            raise Taken

    def update(self, customer_id: int, fields: Fields) -> None:
        person = self._living(customer_id)
        person.fields.update({name: value for name, value in fields.items() if name in FIELDS})
        person.last_auth_at = fields.get("last_auth_at", person.last_auth_at)

    def change_phone(self, customer_id: int, phone: str) -> None:
        person = self._living(customer_id)
        if person.phone == phone:
            return
        self.check_free(phone)
        person.phone, person.phone_from = phone, "api"
        self._decide()

    def delete(self, customer_id: int) -> None:
        self._living(customer_id).deleted = True
        self._decide()

    def restore(self, customer_id: int) -> None:
        person = self.people[customer_id]
        if not person.deleted:
            return
        if person.phone_from == "api" and person.phone is not None:
            self.check_free(person.phone)
        else:
            person.phone, person.phone_from = None, None
        person.deleted = False
        self._decide()

    def _living(self, customer_id: int) -> Person:
        person = self.people.get(customer_id)
        if person is None or person.deleted:
            raise Unknown
        return person

    # what an import does

    def apply(self, readings: Sequence[Reading], belongs: Mapping[int, int]) -> Counter[str]:
        """The classes of the rows in the reading that won, the others being of attempts that were lost.

        `belongs` says to whom each row belongs afterwards: which of several new rows linked.
        """
        self.classes.clear()
        first = {key: row for reading in reversed(readings) for key, row in reading.rows.items() if row.phone}
        self._check_links({key: row for key, row in first.items() if key not in self.mirrors}, belongs)
        classes = Counter[str]()
        for reading in readings:
            ended = Counter(self._row(key, row, reading.at, belongs) for key, row in reading.rows.items())
            classes = ended if reading.won else classes
        self._decide()
        return classes

    def _check_links(self, new: Mapping[int, Row], belongs: Mapping[int, int]) -> None:
        """Of the new rows with the phone of a living customer who has no legacy row, one is its own; others are new."""
        linked = {mirror.customer_id for mirror in self.mirrors.values()}
        waiting = {p.phone: key for key, p in self.people.items() if not p.deleted and key not in linked}
        links = {key: belongs[key] for key in new if belongs[key] in self.people}
        for legacy_id, customer_id in links.items():
            assert waiting.get(new[legacy_id].phone) == customer_id, "a row links to who has another phone"
        named = {row.phone for row in new.values()} & waiting.keys()
        assert sorted(links.values()) == sorted(waiting[phone] for phone in named), "not one row for each who waits"

    def _row(self, legacy_id: int, row: Row, at: datetime, belongs: Mapping[int, int]) -> str:
        mirror = self.mirrors.get(legacy_id)
        if mirror and self.people[mirror.customer_id].deleted:
            return "skipped"
        if row.phone is None:
            return "rejected"
        if mirror is None:
            self._first(legacy_id, row, at, belongs[legacy_id])
            self.classes[legacy_id] = "created"
            return "created"
        now = _mirror(mirror.customer_id, row, at, mirror)
        if now == mirror or at < mirror.read_at:
            return self.classes.get(legacy_id, "unchanged")
        self._merge(self.people[mirror.customer_id], mirror, now)
        self.mirrors[legacy_id] = now
        return self.classes.setdefault(legacy_id, "updated")

    def _first(self, legacy_id: int, row: Row, at: datetime, customer_id: int) -> None:
        """A new customer, or the first link to one: then legacy only fills the gaps."""
        now = _mirror(customer_id, row, at, None)
        person = self.people.setdefault(customer_id, Person())
        person.fields = {name: now.fields[name] if ours is None else ours for name, ours in person.fields.items()}
        person.last_auth_at = person.last_auth_at or now.last_auth_at
        if person.phone == now.phone:
            person.phone_from = "import"
        self.mirrors[legacy_id] = now

    def _merge(self, person: Person, base: Mirror, theirs: Mirror) -> None:
        for name in FIELDS:
            if theirs.fields[name] != base.fields[name]:
                person.fields[name] = theirs.fields[name]
        if theirs.last_auth_at != base.last_auth_at:
            person.last_auth_at = max(filter(None, (person.last_auth_at, theirs.last_auth_at)), default=None)
        if theirs.phone != base.phone and person.phone == theirs.phone:
            person.phone_from = "import"

    # who owns which phone

    def _decide(self) -> None:
        owners = self.owners()
        for customer_id, person in self.people.items():
            if not person.deleted and person.phone_from == "import" and owners.get(person.phone) != customer_id:
                person.phone, person.phone_from = None, None
        for phone, customer_id in owners.items():
            person = self.people[customer_id]
            if person.phone != phone:
                person.phone, person.phone_from = phone, "import"

    def decided(self) -> "Model":
        """The same people with the phones that are theirs by the rule."""
        people = {key: replace(person) for key, person in self.people.items()}
        model = Model(people, self.mirrors)
        model._decide()
        return model

    def owners(self) -> dict[str | None, int]:
        """By phone: the living customer to whom the API gave it, else the greatest claimant."""
        claims = sorted(self._claims(), key=lambda claim: claim[1:])
        owners: dict[str | None, int] = {phone: customer_id for phone, *_, customer_id in claims}
        living = {key: person for key, person in self.people.items() if not person.deleted}
        return owners | {person.phone: key for key, person in living.items() if person.phone_from == "api"}

    def _claims(self) -> Iterator[tuple[str, bool, float, int, int]]:
        """Of the living who hold no API-given phone: the phone that their row names, and how great the claim is."""
        for legacy_id, mirror in self.mirrors.items():
            person = self.people[mirror.customer_id]
            if not person.deleted and person.phone_from != "api":
                at = mirror.last_auth_at
                yield mirror.phone, at is not None, at.timestamp() if at else 0.0, legacy_id, mirror.customer_id


def _mirror(customer_id: int, row: Row, read_at: datetime, before: Mirror | None) -> Mirror:
    """An unusable value counts as equal: what was mirrored before stands in for it."""
    assert row.phone is not None
    known = {name: before.fields[name] if before else None for name in row.unusable - {"last_auth_at"}}
    at = row.last_auth_at
    if "last_auth_at" in row.unusable:
        at = before.last_auth_at if before else None
    return Mirror(customer_id, row.phone, {**row.fields, **known}, at, read_at)
