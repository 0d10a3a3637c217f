"""The rules for the values of a legacy row: which are usable, and how they are merged into the customer's values."""

from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, Final

from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

from customers_api.customers.tables import FIELDS
from customers_api.imports import text_rule
from customers_api.imports.decoding import LegacyEvent
from customers_api.imports.state import BIRTHDAY, LAST_AUTH_AT, AppliedRow, Context, Mirror, Values

values_of: Any = attrgetter(*FIELDS)
"""A function that returns the values of an accepted row's event."""
settled_values_of: Any = attrgetter("phone", *FIELDS)
"""The phone and the values of an accepted row's event, as `Settled` has those of a mirror row."""
NO_VALUES: Final[Values] = (None,) * len(FIELDS)
_NO_BIRTHDAY: Final = date(1900, 1, 1)
"""SQL Server turns an empty text into this date."""
_FIRST_SIGN_IN: Final = datetime(1900, 1, 2, tzinfo=UTC)
"""Earlier instants stand for no sign-in."""
_OLD_REASONS: Final = ("missing", "not_digits", "too_short", "too_long", "no_country_code")
"""The reasons for rejecting a phone at the time when mirror rows had no dispatch numbers."""


def usable(context: Context, event: LegacyEvent, before: Values) -> Values:
    """The values to apply for a row. `before` are the values of its mirror row, or `NO_VALUES` for a new row.

    A value that the event lists as unusable, or a sign-in over a day in the future, is replaced by the one in `before`.
    A rejected row gets all of `before`. A birthday or sign-in taken from `before` that this release does not accept
    becomes None.
    """
    if not isinstance(event, LegacyCustomerRead):
        return _still_usable(context, before)
    values: Values = values_of(event)
    unusable = set(event.unusable or ())
    if is_after(event.last_auth_at, context.tomorrow):
        unusable.add("last_auth_at")
    if not unusable:
        return values
    known = _still_usable(context, before)
    return tuple(old if name in unusable else new for name, old, new in zip(FIELDS, known, values, strict=True))


def _still_usable(context: Context, mirrored: Values) -> Values:
    """The mirror row's values. A birthday or sign-in that only an earlier release accepted becomes None."""
    values = list(mirrored)
    if values[BIRTHDAY] == _NO_BIRTHDAY:
        values[BIRTHDAY] = None
    values[LAST_AUTH_AT] = _past(context, values[LAST_AUTH_AT])
    return tuple(values)


def _past(context: Context, instant: datetime | None) -> datetime | None:
    """The instant, or None if it lies in the future or is a placeholder."""
    return instant if instant is not None and _FIRST_SIGN_IN <= instant <= context.now else None


def is_after(instant: datetime | None, other: datetime) -> bool:
    return instant is not None and instant > other


def merged(context: Context, ours: Values, row: AppliedRow) -> Values:
    """The customer's values once the row is applied. `ours` are the values before.

    A value that vAptekeSync has changed since it was mirrored is taken; every other value stays. A row that joins a
    customer only fills gaps. `_taken` and `_merged_sign_in` have the exceptions.
    """
    mirrored = row.mirror.values if row.mirror else None
    values = list(ours)
    for index, (name, our, their) in enumerate(zip(FIELDS, ours, row.values, strict=True)):
        if index == LAST_AUTH_AT:
            values[index] = _merged_sign_in(context, our, their, mirrored)
        elif mirrored is None:
            values[index] = their if our is None else our
        elif their != mirrored[index]:
            values[index] = _taken(name, our, mirrored[index], their)
    return tuple(values)


def _taken(name: str, our: Any, mirrored: Any, their: Any) -> Any:
    """The customer's value for a field whose value in the row differs from the mirrored one.

    If vAptekeSync has changed the field, it is `their`, the row's value. If only our rule reads the same field
    differently now, it is `our`, which the API wrote; but `their` if `our` is still the mirrored value in some form.
    """
    if name == "birthday" and mirrored == _NO_BIRTHDAY and their is None:  # our rule has changed, not the row
        return None if our == mirrored else our
    return our if name in text_rule.FIELDS and text_rule.is_kept(name, their, mirrored, our) else their


def _merged_sign_in(context: Context, our: datetime | None, their: datetime | None, mirrored: Values | None) -> Any:
    """The customer's last sign-in once the row is applied. It is `our`, except in three cases.

    The cases: the row joins the customer, vAptekeSync has changed the sign-in, or `our` is over a day in the future.
    Then it is the later of `our` and `their`, where `our` does not count if it is in the future or a placeholder. None
    if neither is left.
    """
    if mirrored is not None and their == mirrored[LAST_AUTH_AT] and not is_after(our, context.tomorrow):
        return our
    return max(filter(None, (_past(context, our), their)), default=None)


def named_phone(event: LegacyEvent, mirror: Mirror) -> str | None:
    """The phone that the row names. A rejected row names its mirrored phone, but none if only older rules accept it."""
    if not isinstance(event, LegacyCustomerRejected):
        return event.phone
    return None if mirror.phone and _only_older_rules_accept(mirror.phone, event, mirror) else mirror.phone


def _only_older_rules_accept(phone: str, event: LegacyCustomerRejected, mirror: Mirror) -> bool:
    """Whether only older rules accept the mirrored phone.

    This is so in two cases: it begins with 7 and does not have exactly ten digits after that; or its mirror row has no
    dispatch number, and the event rejects the phone for a reason that is not in `_OLD_REASONS`.
    """
    if phone[0] == "7" and len(phone) != len("79025163111"):
        return True
    return mirror.number is None and event.reasons.get("phone", _OLD_REASONS[0]) not in _OLD_REASONS
