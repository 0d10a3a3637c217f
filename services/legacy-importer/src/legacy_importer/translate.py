"""Translates a legacy row into an event, without I/O and without a clock.

The rules are those of docs/contract.md: phones follow the phone rule, texts are cleaned, and an empty text is null. A
value that cannot be used makes its field null, and the event has the reason, which never contains the value.
Only a row without a usable phone, or a row that could not be read, is rejected.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from vapteke_shared.contract import limits, phones, texts
from vapteke_shared.contract.events.legacy_customers import (
    IN_THE_FUTURE,
    PLACEHOLDER_DATE,
    UNREADABLE,
    Field,
    LegacyCustomerRead,
    LegacyCustomerRejected,
)
from vapteke_shared.contract.limits import CLOCK_TOLERANCE, FIRST_BIRTHDAY

from legacy_importer import values
from legacy_importer.values import Number, Unusable

_PLACEHOLDERS = frozenset((date(1, 1, 1), date(1753, 1, 1), date(1899, 12, 30), date(1900, 1, 1)))
"""Dates that mean "no date" in SQL Server's types, or in programs that write to SQL Server."""
_LAST_PLACEHOLDER_YEAR = max(_PLACEHOLDERS).year

CustomerOrRejection = LegacyCustomerRead | LegacyCustomerRejected
Gender = Literal["M", "F"]


class LegacyRow(NamedTuple):
    """A row as the driver returns it. The fields have the order of the select list."""

    id: int
    phone: str | Number | None
    firstname: str | None
    lastname: str | None
    email: str | None
    birthday: date | datetime | str | None
    gender: str | Number | None
    city_id: Number | None
    last_auth_at: datetime | date | str | None
    fingerprint: int | None = None
    """What vAptekeSync computed for this row; see `fingerprints.py`."""


class UnreadableRow(NamedTuple):
    """A row with a value that makes every SELECT of all columns fail. Only the key of the row can be read."""

    id: int
    fingerprint: None = None


@dataclass(frozen=True)
class Context:
    """What the translation needs to know about a key range and the settings.

    Every event carries the ids of the import, the range (`chunk`) and the attempt, the dispatch number and `read_at`.
    `read_at` is the server's time just before the first row of the range was read. `now` is our time after the current
    page of rows was read. `zone` is the server's time zone, and `genders` is a result of `spellings`.
    """

    import_id: UUID
    chunk: int
    attempt: UUID
    read_at: datetime
    zone: ZoneInfo
    genders: Mapping[str, Gender]
    number: int | None = None
    """The dispatch number of the range."""
    now: datetime | None = None
    """When the rows were read, by our clock; None: use `read_at`."""

    @cached_property
    def latest_sign_in(self) -> datetime:
        """The latest `last_auth_at` that is accepted: `now`, or `read_at` without it, plus CLOCK_TOLERANCE.

        The clock that wrote the value may be ahead of ours.
        """
        return (self.now or self.read_at) + CLOCK_TOLERANCE

    @cached_property
    def today(self) -> date:
        """The date of reading, in the legacy server's time zone."""
        return (self.now or self.read_at).astimezone(self.zone).date()


Reader = Callable[[Any, Context], Any]
"""Makes the value of a field from a value that the driver returned; None if that value is empty. Raises Unusable."""


def to_event(row: LegacyRow | UnreadableRow, context: Context) -> CustomerOrRejection:
    """Translate one row."""
    [event] = to_events([row], context)
    return event


def to_events(rows: Sequence[LegacyRow | UnreadableRow], context: Context) -> list[CustomerOrRejection]:
    """Translate each row into the event of a customer, or into a rejection with the reason, in the order of `rows`.

    One field of all rows is read before the next field, because reading row by row takes 1.5 times as long.
    """
    events = [_with_phone(row, context) for row in rows]
    accepted = [(event, row) for event, row in zip(events, rows, strict=True) if isinstance(event, LegacyCustomerRead)]
    for column, (field, read) in enumerate(_READERS, start=2):
        _read_field(field, read, column, accepted, context)
    return events


def _with_phone(row: LegacyRow | UnreadableRow, context: Context) -> CustomerOrRejection:
    """The event of a row with its phone, before the other fields are read; or the rejection of the row."""
    if isinstance(row, UnreadableRow):
        return _rejected(row.id, context, "row", UNREADABLE)
    try:
        phone = _phone(row.phone)
    except (phones.PhoneInvalid, Unusable) as error:
        return _rejected(row.id, context, "phone", error.reason)
    return LegacyCustomerRead(
        import_id=context.import_id,
        chunk=context.chunk,
        attempt=context.attempt,
        legacy_id=row.id,
        read_at=context.read_at,
        number=context.number,
        phone=phone,
    )


def _read_field(
    field: Field,
    read: Reader,
    column: int,
    accepted: Iterable[tuple[LegacyCustomerRead, Sequence[Any]]],
    context: Context,
) -> None:
    """Set the field of each event from the value at `column` of its row. A null value leaves the field null.

    If the value cannot be used, add the field and the reason to the event's `unusable` instead.
    """
    for event, row in accepted:
        value = row[column]
        if value is not None:
            try:
                setattr(event, field, read(value, context))
            except Unusable as error:
                event.unusable = {**(event.unusable or {}), field: error.reason}


def _rejected(legacy_id: int, context: Context, field: Field, reason: str) -> LegacyCustomerRejected:
    return LegacyCustomerRejected(
        import_id=context.import_id,
        chunk=context.chunk,
        attempt=context.attempt,
        legacy_id=legacy_id,
        read_at=context.read_at,
        number=context.number,
        reasons={field: reason},
    )


def _phone(value: str | Number | None) -> str:
    """The digits of a phone, from a text or a number. Raises PhoneInvalid, also for None, and Unusable."""
    if value is None or isinstance(value, str):
        return phones.digits_of(value or "")
    return phones.digits_of(str(values.count(value)))


def name(text: str, _: Context) -> str | None:
    """The cleaned first or last name; None if it is empty. Raises Unusable, as every reader of a field does."""
    return _name(text)


@lru_cache(maxsize=2**14)  # most people share their names with others
def _name(text: str) -> str | None:
    text = _text(text)
    if len(text) > limits.NAME_CHARACTERS:
        raise Unusable("too_long")
    return text or None


def email(text: str, _: Context) -> str | None:
    """The cleaned and normalised e-mail address; None if it is empty. Raises Unusable, also for an invalid address."""
    if texts.is_plain_email(text):
        return text
    text = _text(text)
    if not text:
        return None
    if len(text) > limits.EMAIL_CHARACTERS:
        raise Unusable("too_long")
    try:
        return texts.email(text)
    except texts.EmailInvalid:
        raise Unusable("not_an_address") from None


def birthday(value: date | datetime | str, context: Context) -> date | None:
    """The date in a date, a datetime or an ISO 8601 text; None for an empty text. The time of day is dropped.

    Raises Unusable also for a placeholder date, a date in the future and a date before 1900.
    """
    if type(value) is date and FIRST_BIRTHDAY < value <= context.today:  # most of them; all placeholders are earlier
        return value
    dated = values.dated(value)
    if dated is None:
        return None
    day = dated.date() if isinstance(dated, datetime) else dated
    if day in _PLACEHOLDERS:
        raise Unusable(PLACEHOLDER_DATE)
    if day > context.today:
        raise Unusable(IN_THE_FUTURE)
    if day < FIRST_BIRTHDAY:
        raise Unusable("before_1900")
    return day


def gender(value: str | Number, context: Context) -> Gender | None:
    """M or F, by the spellings in `context.genders`; None for an empty text. A number is looked up by its digits.

    Raises Unusable for any other spelling.
    """
    if isinstance(value, bool):  # from a bit column
        value = int(value)
    text = _spelling(value if isinstance(value, str) else str(values.whole(value)))
    if not text:
        return None
    if text not in context.genders:
        raise Unusable("unknown")
    return context.genders[text]


def city(value: Number, _: Context) -> int:
    """The city's number: a whole number from 0 to the largest bigint, from any numeric type. Else raises Unusable."""
    return values.count(value)


def last_auth_at(value: datetime | date | str, context: Context) -> datetime | None:
    """The instant in UTC that a datetime, a date or an ISO 8601 text means; None for an empty text.

    Raises Unusable also for a placeholder date and for an instant after `context.latest_sign_in`.
    """
    dated = value if type(value) is datetime else values.dated(value)
    if dated is None:
        return None
    moment = values.instant(dated, context.zone)
    if moment > context.latest_sign_in:
        raise Unusable(IN_THE_FUTURE)
    if dated.year <= _LAST_PLACEHOLDER_YEAR and date(dated.year, dated.month, dated.day) in _PLACEHOLDERS:
        raise Unusable(PLACEHOLDER_DATE)
    return moment


def _text(text: str) -> str:
    """The cleaned text. Raises Unusable for characters that UTF-8 or Postgres cannot store."""
    if texts.is_plain(text):
        return text.strip()
    if "\0" in text:
        raise Unusable("has_a_zero_character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unusable("has_half_a_character") from None
    return texts.cleaned(text)


@lru_cache(maxsize=64)  # the whole column consists of a few spellings
def _spelling(text: str) -> str:
    return texts.cleaned(text).casefold()


def spellings(genders: Mapping[Gender, list[str]]) -> dict[str, Gender]:
    """The gender of each spelling, for `Context.genders`. `genders` lists the spellings of each gender.

    The spellings are cleaned and in lower case, as `gender` looks them up.
    """
    return {_spelling(text): gender for gender, spelled in genders.items() for text in spelled}


_READERS: tuple[tuple[Field, Reader], ...] = (
    ("firstname", name),
    ("lastname", name),
    ("email", email),
    ("birthday", birthday),
    ("gender", gender),
    ("city_id", city),
    ("last_auth_at", last_auth_at),
)
"""The fields after key and phone, in the order of LegacyRow, and the function that reads each."""
