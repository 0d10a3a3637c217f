"""From a legacy row to an event: pure, no I/O and no clock.

The rules are the contract's: phones are parsed by the phone rule, texts are trimmed, empty is null. A value that cannot
be used makes its field null and is named with a reason, which never holds the value; only a row without a usable phone
is rejected.
"""

import re
from collections.abc import Callable, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from vapteke_shared import phones
from vapteke_shared.events import LegacyCustomerRead, LegacyCustomerRejected

_NAME_MAX = 100
_EMAIL_MAX = 254
_INT64_MAX = 2**63 - 1
_FIRST_BIRTHDAY = date(1900, 1, 1)
# A plain address that email-validator takes as it stands; it judges all others itself, many times slower.
_PLAIN_EMAIL = re.compile(r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]{2,})")
_SPECIAL = frozenset(name.rsplit(".", 1)[-1] for name in SPECIAL_USE_DOMAIN_NAMES)

T = TypeVar("T")
Gender = Literal["M", "F"]


class LegacyRow(NamedTuple):
    """A row as the driver gives it, in the order of the SELECT."""

    id: int
    phone: str | None
    firstname: str | None
    lastname: str | None
    email: str | None
    birthday: date | datetime | str | None
    gender: str | None
    city_id: int | None
    last_auth_at: datetime | date | str | None


class Context(NamedTuple):
    """What a range's rows have in common."""

    import_id: UUID
    chunk: int
    attempt: UUID
    read_at: datetime
    zone: ZoneInfo
    genders: Mapping[str, Gender]
    number: int | None = None
    """That of the range's hand-out."""


class Unusable(ValueError):
    """A value that cannot be used; the reason is a word for machines."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def to_event(row: LegacyRow, context: Context) -> LegacyCustomerRead | LegacyCustomerRejected:
    """The event of one row: read, or rejected with the reason."""
    try:
        phone = phones.parse(row.phone or "")
    except phones.PhoneInvalid as error:
        return _rejected(row, context, error.reason)
    unusable: dict[Any, str] = {}

    def usable(field: str, read: Callable[[Any], T | None], value: Any) -> T | None:
        if value is None:
            return None
        try:
            return read(value)
        except Unusable as error:
            unusable[field] = error.reason
            return None

    return LegacyCustomerRead(
        import_id=context.import_id,
        chunk=context.chunk,
        attempt=context.attempt,
        legacy_id=row.id,
        read_at=context.read_at,
        number=context.number,
        phone=phone.digits,
        firstname=usable("firstname", name, row.firstname),
        lastname=usable("lastname", name, row.lastname),
        email=usable("email", email, row.email),
        birthday=usable("birthday", lambda value: birthday(value, context.read_at.date()), row.birthday),
        gender=usable("gender", lambda value: gender(value, context.genders), row.gender),
        city_id=usable("city_id", city, row.city_id),
        last_auth_at=usable("last_auth_at", lambda value: instant(value, context.zone), row.last_auth_at),
        unusable=unusable or None,
    )


def _rejected(row: LegacyRow, context: Context, reason: str) -> LegacyCustomerRejected:
    return LegacyCustomerRejected(
        import_id=context.import_id,
        chunk=context.chunk,
        attempt=context.attempt,
        legacy_id=row.id,
        read_at=context.read_at,
        number=context.number,
        reasons={"phone": reason},
    )


def name(text: str) -> str | None:
    text = _text(text)
    if len(text) > _NAME_MAX:
        raise Unusable("too_long")
    return text or None


def email(text: str) -> str | None:
    """The address as email-validator normalises it, without asking the DNS."""
    text = _text(text)
    if len(text) > _EMAIL_MAX:
        raise Unusable("too_long")
    if not text or _is_plain(text):
        return text or None
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise Unusable("not_an_address") from None


def _is_plain(text: str) -> bool:
    match = _PLAIN_EMAIL.fullmatch(text) if len(text) <= 63 else None
    return match is not None and match[1] not in _SPECIAL


def birthday(value: date | datetime | str, today: date) -> date | None:
    """A date, or an ISO 8601 text of one; the time of a datetime is dropped."""
    dated = _dated(value)
    if dated is None:
        return None
    day = dated.date() if isinstance(dated, datetime) else dated
    if day > today:
        raise Unusable("in_the_future")
    if day < _FIRST_BIRTHDAY:
        raise Unusable("before_1900")
    return day


def gender(text: str, genders: Mapping[str, Gender]) -> Gender | None:
    """M or F by the spellings of the settings, given in lower case."""
    text = text.strip().casefold()
    if not text:
        return None
    if text not in genders:
        raise Unusable("unknown")
    return genders[text]


def city(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unusable("not_a_number")
    if value < 0:
        raise Unusable("negative")
    if value > _INT64_MAX:
        raise Unusable("too_big")
    return value


def instant(value: datetime | date | str, zone: ZoneInfo) -> datetime | None:
    """The legacy server's local time, or an ISO 8601 text of one, in UTC, to the millisecond."""
    dated = _dated(value)
    if dated is None:
        return None
    local = dated if isinstance(dated, datetime) else datetime(dated.year, dated.month, dated.day)
    if local.tzinfo is None:
        local = local.replace(tzinfo=zone)
    try:
        moment = local.replace(microsecond=local.microsecond // 1000 * 1000).astimezone(UTC)
    except OverflowError:
        raise Unusable("out_of_range") from None
    if moment.year in (MINYEAR, MAXYEAR):  # asyncpg takes their ends for infinity
        raise Unusable("out_of_range")
    return moment


def _dated(value: object) -> date | None:
    """A date or datetime as it is, or read from an ISO 8601 text; an empty one is null."""
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise Unusable("not_a_date") from None
    if not isinstance(value, date):
        raise Unusable("not_a_date")
    return value


def _text(text: str) -> str:
    """Trimmed; what UTF-8 and Postgres cannot keep is unusable."""
    if "\0" in text:
        raise Unusable("has_a_zero_character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unusable("has_half_a_character") from None
    return text.strip()


def spellings(genders: Mapping[Gender, list[str]]) -> dict[str, Gender]:
    """Gender by spelling, ready for `Context.genders`."""
    return {spelling.strip().casefold(): letter for letter, texts in genders.items() for spelling in texts}
