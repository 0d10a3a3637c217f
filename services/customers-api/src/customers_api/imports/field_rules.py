"""The rules for the values of a legacy row: which are usable, and how they are merged into its customer's values."""

from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, Final

from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected

from customers_api.customers.tables import FIELDS
from customers_api.imports import text_rule
from customers_api.imports.decoding import LegacyEvent
from customers_api.imports.state import BIRTHDAY, LAST_AUTH_AT, AppliedRow, Context, Values

values_of: Any = attrgetter(*FIELDS)
"""The values of an accepted row's event."""
NO_VALUES: Final[Values] = (None,) * len(FIELDS)
_NO_BIRTHDAY: Final = date(1900, 1, 1)
"""The date that SQL Server makes of an empty text."""
_FIRST_SIGN_IN: Final = datetime(1900, 1, 2, tzinfo=UTC)
"""Earlier instants stand for no sign-in."""


def usable(context: Context, event: LegacyEvent, before: Values) -> Values:
    """The row's values. For an unusable value the mirror's is returned; for a rejected row, all of the mirror's."""
    if isinstance(event, LegacyCustomerRejected):
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
    """The mirror's values without those that an earlier release accepted and this one does not."""
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
    """Field by field: what vAptekeSync has changed since it was mirrored is taken, everything else stays.

    A row that joins a customer only fills gaps.
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
    """The value after vAptekeSync has changed the mirrored one to theirs."""
    if name == "birthday" and mirrored == _NO_BIRTHDAY and their is None:  # our rule has changed, not the row
        return None if our == mirrored else our
    return our if name in text_rule.FIELDS and text_rule.is_kept(name, their, mirrored, our) else their


def _merged_sign_in(context: Context, our: datetime | None, their: datetime | None, mirrored: Values | None) -> Any:
    """Ours, unless the row joins, vAptekeSync has changed the sign-in, or ours is in the future: then the later one."""
    if mirrored is not None and their == mirrored[LAST_AUTH_AT] and not is_after(our, context.tomorrow):
        return our
    return max(filter(None, (_past(context, our), their)), default=None)
