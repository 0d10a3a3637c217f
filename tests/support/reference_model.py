"""How imports and the API change customers, in plain Python (docs/design.md, "Applying a legacy customer").

Who owns a phone is worked out anew for all phones after each step: the database decides only those concerned, and has
to come to the same.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from vapteke_shared.contract import texts

FIELDS = ("firstname", "lastname", "email", "birthday", "gender", "city_id")
TEXTS = ("firstname", "lastname", "email")
NO_BIRTHDAY = date(1900, 1, 1)
FUTURE = datetime(2099, 1, 1, tzinfo=UTC)
"""From here on an instant is in the future; the histories know no other between our present and this one."""
OLD_REASONS = ("missing", "not_digits", "too_short", "too_long", "no_country_code")
"""For which a phone was rejected before hand-outs had numbers."""

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
    """A legacy row as it is read; no phone: rejected, for this `reason`. What is `unusable` has no value."""

    phone: str | None
    fields: Fields
    last_auth_at: datetime | None = None
    unusable: frozenset[str] = frozenset()
    reason: str = "missing"


@dataclass(frozen=True)
class Mirror:
    """What was last applied of a legacy row, and to whom."""

    customer_id: int
    phone: str | None
    fields: Fields
    last_auth_at: datetime | None
    read_in: int = field(compare=False, default=0)
    """The import whose reading it reflects; they are counted from 1. 0: from before hand-outs had numbers."""
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
    seen: dict[int, datetime] = field(default_factory=dict)
    """When the last import has read each row, by the clock of the latest attempt that did."""
    imports: int = 0

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
        self.seen.clear()
        self.imports += 1
        first = {key: row for reading in reversed(readings) for key, row in reading.rows.items() if row.phone}
        new = {key: row for key, row in first.items() if key not in self.mirrors and key in belongs}
        self._check_links(new, belongs)
        classes = Counter[str]()
        for reading in readings:
            ended = Counter(self._row(key, row, reading.at, belongs) for key, row in reading.rows.items())
            classes = ended if reading.won else classes
        self._decide()
        return classes

    def _check_links(self, new: Mapping[int, Row], belongs: Mapping[int, int]) -> None:
        """Of the new rows with the phone of an active customer who has no legacy row, one joins it; others are new.

        A row that only a late event of a lost attempt has with a phone belongs to nobody, and is not in `new`.
        """
        linked = {mirror.customer_id for mirror in self.mirrors.values()}
        waiting = {p.phone: key for key, p in self.people.items() if not p.deleted and key not in linked}
        links = {key: belongs[key] for key in new if belongs[key] in self.people}
        for legacy_id, customer_id in links.items():
            assert waiting.get(new[legacy_id].phone) == customer_id, "a row links to who has another phone"
        named = {row.phone for row in new.values()} & waiting.keys()
        assert sorted(links.values()) == sorted(waiting[phone] for phone in named), "not one row for each who waits"

    def _row(self, legacy_id: int, row: Row, at: datetime, belongs: Mapping[int, int]) -> str:
        mirror = self.mirrors.get(legacy_id)
        is_late = at < self.seen.get(legacy_id, at)
        self.seen[legacy_id] = max(at, self.seen.get(legacy_id, at))
        if mirror and self.people[mirror.customer_id].deleted:
            return "skipped"
        if mirror is None:
            if row.phone is None or is_late:
                return "rejected" if row.phone is None else "unchanged"
            self._first(legacy_id, row, at, belongs[legacy_id])
            self.classes[legacy_id] = "created"
            return "created"
        person, now = self.people[mirror.customer_id], self._mirror(mirror.customer_id, row, at, mirror)
        if not is_late and (now != mirror or _is_future(person.last_auth_at)):
            self._merge(person, mirror, now)
            self.mirrors[legacy_id] = now
            if row.phone is not None:
                self.classes.setdefault(legacy_id, "updated")
        return "rejected" if row.phone is None else self.classes.get(legacy_id, "unchanged")

    def _first(self, legacy_id: int, row: Row, at: datetime, customer_id: int) -> None:
        """A new customer, or the first link to one: then legacy only fills the gaps."""
        now = self._mirror(customer_id, row, at, None)
        person = self.people.setdefault(customer_id, Person())
        person.fields = {name: now.fields[name] if ours is None else ours for name, ours in person.fields.items()}
        person.last_auth_at = _later(person.last_auth_at, now.last_auth_at)
        if person.phone == now.phone:
            person.phone_from = "import"
        self.mirrors[legacy_id] = now

    def _merge(self, person: Person, base: Mirror, theirs: Mirror) -> None:
        for name in FIELDS:
            if theirs.fields[name] != base.fields[name]:
                person.fields[name] = _merged(name, person.fields[name], base.fields[name], theirs.fields[name])
        if theirs.last_auth_at != base.last_auth_at or _is_future(person.last_auth_at):
            person.last_auth_at = _later(person.last_auth_at, theirs.last_auth_at)
        if theirs.phone is not None and theirs.phone != base.phone and person.phone == theirs.phone:
            person.phone_from = "import"

    def _mirror(self, customer_id: int, row: Row, read_at: datetime, before: Mirror | None) -> Mirror:
        """What is unusable, or all of a rejected row, counts as equal: what was mirrored before stands in for it.

        But for what would be unusable today.
        """
        unusable = row.unusable if row.phone else {*FIELDS, "last_auth_at"}
        known = {name: before.fields[name] if before else None for name in unusable - {"last_auth_at"}}
        if known.get("birthday") == NO_BIRTHDAY:
            known["birthday"] = None
        at = row.last_auth_at
        if "last_auth_at" in unusable or _is_future(at):
            at = before.last_auth_at if before and not _is_future(before.last_auth_at) else None
        phone = row.phone or (before.phone if before and not _is_no_number(before, row.reason) else None)
        return Mirror(customer_id, phone, {**row.fields, **known}, at, self.imports, read_at)

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

    def conflicts(self, reading: Reading) -> set[int]:
        """The accepted rows of a reading whose living customers have no phone."""
        owners = {key: self.people[self.mirrors[key].customer_id] for key in reading.rows if key in self.mirrors}
        return {
            key
            for key, person in owners.items()
            if reading.rows[key].phone and not person.deleted and person.phone is None
        }

    def _claims(self) -> Iterator[tuple[str, bool, float, int, int]]:
        """Of the living who hold no API-given phone: the phone that their row names, and how great the claim is."""
        for legacy_id, mirror in self.mirrors.items():
            person = self.people[mirror.customer_id]
            if mirror.phone is not None and not person.deleted and person.phone_from != "api":
                at = mirror.last_auth_at
                yield mirror.phone, at is not None, at.timestamp() if at else 0.0, legacy_id, mirror.customer_id


def _is_future(at: datetime | None) -> bool:
    return at is not None and at >= FUTURE


def _later(ours: datetime | None, theirs: datetime | None) -> datetime | None:
    """The later of both; what is in the future is nobody's."""
    return max((at for at in (ours, theirs) if at is not None and not _is_future(at)), default=None)


def _is_no_number(mirror: Mirror, reason: str) -> bool:
    """Today's rule does not take what is mirrored, or only the rules of old made a number of such a text."""
    if mirror.phone is None:
        return False
    return (mirror.phone[0] == "7" and len(mirror.phone) != 11) or (mirror.read_in == 0 and reason not in OLD_REASONS)


def _reread(text: str | None) -> str | None:
    return text and (texts.cleaned(text) or None)


def _merged(name: str, ours: Any, base: Any, theirs: Any) -> Any:
    if name == "birthday" and base == NO_BIRTHDAY and theirs is None:
        return None if ours == base else ours
    if name in TEXTS and _reread(theirs) == _reread(base):
        return theirs if _reread(ours) == _reread(theirs) else ours
    return theirs
