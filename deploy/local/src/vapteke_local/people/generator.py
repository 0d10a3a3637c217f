"""Made-up customers of the legacy table, and the verdict that a correct import of them reaches.

The verdict is known by construction: the random draws that make a row also decide what a correct import does with it
(Expected), and `truth` counts these outcomes. None of the services' rules is called here, so generator and services
check each other. The same seed and count give the same people on every Python and every machine. Another count can
change the rows too: it decides which of them share a phone, and an odd count can change the last row. `count` is 0 to
MAX_COUNT, else a ValueError.

Ids ascend with gaps: runs of 64 rows with a step of 1 to 31, a run in every 12,800 ids.

| of all rows | flaw | first import |
|---|---|---|
| 0.6 % | no phone: null, empty, blank | rejected |
| 0.6 % | unreadable phone: letters, too short, too long, no such calling code, two numbers | rejected |
| 0.1 % | phone of 64 characters and more | rejected |
| 1 %   | phone shared by two rows, sometimes three; neighbours or far apart; ties in last_auth_at | losers repaired |
| 1 %   | broken e-mail | repaired |
| 0.3 % | birthday in 2090 or later | repaired |
| 0.1 % | birthday before 1900, or on 1900-01-01, which means none | repaired |
| 0.5 % | unknown gender | repaired |
| 0.2 % | first or last name of 101 to 150 characters | repaired |
| 0.1 % | negative city | repaired |
| 0.1 % | all fields unusable except the phone; in addition to the above | repaired |
| 2 %   | spaces around the texts | accepted |

A row may have several flaws by chance. These occur too and are valid: a name of exactly 100 characters, an e-mail of
exactly 254, a birthday on 1900-01-02, empty and blank texts, foreign numbers (3 %). Among fewer than 200 rows, no phone
is shared.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Literal, NamedTuple

from vapteke_local.people.cities import CITY_IDS
from vapteke_local.people.dates import BIRTHDAYS, last_auth_at
from vapteke_local.people.emails import email
from vapteke_local.people.genders import GENDERS
from vapteke_local.people.legacy_ids import legacy_id
from vapteke_local.people.names import FIRST_NAMES, LAST_NAMES
from vapteke_local.people.phones import OVERLONG, PREFIXES, SUBSCRIBERS, own_digits, spell, unusable_phone
from vapteke_local.people.random_draws import Draws, draw, per_mille, unusable_fields
from vapteke_local.people.shared_phones import SharedPhone, shared_phones


class Person(NamedTuple):
    """A row of the legacy table; the fields are in the order of the table's columns.

    last_auth_at has no time zone, and is always a value that SQL Server's type datetime can hold.
    """

    id: int
    phone: str | None
    first_name: str | None
    last_name: str | None
    email: str | None
    birthday: date | None
    gender: str | None
    city_id: int | None
    last_auth_at: datetime | None


class Expected(NamedTuple):
    """What a correct first import does with a row: creates a customer from it, or rejects it.

    `unusable` names the fields whose values the import cannot use. A customer is created without these values.
    """

    verdict: Literal["created", "rejected"]
    # The digits as the services store them. Also set for a row that loses a shared phone.
    phone: str | None
    unusable: tuple[str, ...]
    # The legacy id of the row that keeps the shared phone, if this one loses it.
    rival: int | None

    @property
    def repaired(self) -> bool:
        return self.verdict == "created" and (bool(self.unusable) or self.rival is not None)


MAX_COUNT = SUBSCRIBERS

SPACES = per_mille(20)


def generate(seed: int, count: int) -> Iterator[Person]:
    return (person(seed, *row) for row in rows(seed, count))


def labelled(seed: int, count: int) -> Iterator[tuple[Person, Expected]]:
    return ((person(seed, *row), expected(seed, *row)) for row in rows(seed, count))


def truth(seed: int, count: int) -> dict[str, int]:
    """The counts that a correct import of these people into an empty database reaches. The keys are those of a job."""
    rejected = repaired = 0
    for row in rows(seed, count):
        label = expected(seed, *row)
        rejected += label.verdict == "rejected"
        repaired += label.repaired
    return {
        "read": count,
        "created": count - rejected,
        "updated": 0,
        "unchanged": 0,
        "skipped": 0,
        "rejected": rejected,
        "repaired": repaired,
    }


def truth_again(seed: int, count: int) -> dict[str, int]:
    """The counts that a correct second import of the same, unchanged rows reaches."""
    first = truth(seed, count)
    return {**first, "created": 0, "unchanged": first["created"]}


def rows(seed: int, count: int) -> Iterator[tuple[int, Draws, SharedPhone | None]]:
    if not 0 <= count <= MAX_COUNT:
        raise ValueError(f"count must be from 0 to {MAX_COUNT}")
    shared = shared_phones(seed, count)
    return zip(range(count), draw(seed, count), map(shared.get, range(count)), strict=True)


def expected(seed: int, row: int, draws: Draws, shared: SharedPhone | None) -> Expected:
    unusable = unusable_fields(draws)
    if shared is not None:
        rival = None if shared.winner_row == row else legacy_id(seed, shared.winner_row)
        return Expected("created", shared.prefix.digits + own_digits(seed, shared.owner_row), unusable, rival)
    if draws.phone < OVERLONG:
        return Expected("rejected", None, unusable, None)
    return Expected("created", PREFIXES[draws.phone % len(PREFIXES)].digits + own_digits(seed, row), unusable, None)


def person(seed: int, row: int, draws: Draws, shared: SharedPhone | None) -> Person:
    sex = draws.misfortune & 1
    made = Person(
        legacy_id(seed, row),
        phone(seed, row, draws, shared),
        FIRST_NAMES[sex][draws.first_name],
        LAST_NAMES[sex][draws.last_name],
        email(row, draws),
        BIRTHDAYS[draws.birthday],
        GENDERS[sex][draws.gender],
        CITY_IDS[draws.city_id],
        last_auth_at(draws) if shared is None else shared.last_auth_at,
    )
    return made if draws.spaces >= SPACES else with_spaces(made, draws)


def phone(seed: int, row: int, draws: Draws, shared: SharedPhone | None) -> str | None:
    if shared is not None:
        return spell(shared.prefix, own_digits(seed, shared.owner_row), draws)
    if draws.phone < OVERLONG:
        return unusable_phone(own_digits(seed, row), draws)
    return spell(PREFIXES[draws.phone % len(PREFIXES)], own_digits(seed, row), draws)


def with_spaces(made: Person, draws: Draws) -> Person:
    before, after = " " * (draws.spaces & 1), " " * (1 + draws.spaces % 3)
    texts = {field: getattr(made, field) for field in ("phone", "first_name", "last_name", "email", "gender")}
    return made._replace(**{field: before + text + after for field, text in texts.items() if text is not None})
