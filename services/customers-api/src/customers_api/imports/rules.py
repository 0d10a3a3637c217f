"""What an import does with legacy customers: the rules, without I/O (docs/design.md, "Applying a legacy customer").

The order of calls: `split_unchanged` and `compare` find the rows of a batch that change something, `phones_to_decide`
the phones whose holder may change. `batch_state` locks these phones, then locks and loads the customers of the rows,
and those who hold or name one of the phones. Then `decide` returns what is to be written.

The rules for single values are in `field_rules`: which are usable, that a changed one is taken and others stay, and how
values that only earlier releases accepted are corrected. Rules elsewhere: phones changed through the API in
`customers/phone_owners`, gone rows in `gone_rows`, `phone_conflict` in `writes`, and in `reread_customers` texts that
this release writes in another form.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from operator import itemgetter

from msgspec.structs import replace
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead
from vapteke_shared.postgres.retries import ChangedMeanwhile

from customers_api.customers.tables import FIELDS
from customers_api.imports import field_rules
from customers_api.imports.decoding import LegacyEvent
from customers_api.imports.field_rules import NO_VALUES, is_after, settled_values_of
from customers_api.imports.state import (
    LAST_AUTH_AT,
    AppliedRow,
    Claim,
    Class,
    Comparison,
    Context,
    CustomerChange,
    Decision,
    Incoming,
    LoadedCustomer,
    Locked,
    Mirror,
    Settled,
    Values,
    claim,
)

Customers = Mapping[int, LoadedCustomer]
Phones = AbstractSet[str]


# Which rows change something


def split_unchanged(
    incoming: Iterable[Incoming], settled: Mapping[int, Settled]
) -> tuple[list[Incoming], list[Incoming]]:
    """The rows that surely change nothing (their class is `unchanged`), and the others, which `compare` must classify.

    `settled` has settled mirror rows by legacy id. Most rows of an import are of the first kind.
    """
    unchanged, others = list[Incoming](), list[Incoming]()
    for each in incoming:
        event = each.event
        if isinstance(event, LegacyCustomerRead) and event.unusable is None and event.legacy_id in settled:
            equal = settled[event.legacy_id] == settled_values_of(event)
            (unchanged if equal else others).append(each)
        else:
            others.append(each)
    return unchanged, others


def compare(context: Context, incoming: Sequence[Incoming], mirrors: Mapping[int, Mirror]) -> Comparison:
    """Classify each row by its mirror row, and find the rows to apply. A row without one in `mirrors` is new."""
    comparison = Comparison([], [])
    for index, (_, event) in enumerate(incoming):
        mirror = mirrors.get(event.legacy_id)
        row = _row_to_apply(context, index, event, mirror)
        comparison.classes.append(_class(event, mirror, row))
        if row is not None:
            comparison.rows.append(row)
    return comparison


def _row_to_apply(context: Context, index: int, event: LegacyEvent, mirror: Mirror | None) -> AppliedRow | None:
    """The row with the values to apply. None if they would change nothing, or if the event must not be applied."""
    # an attempt that found the row unchanged has left no trace in its mirror row
    if event.legacy_id in context.read_later and context.read_later[event.legacy_id] > event.read_at:
        return None
    if mirror is None:
        if not isinstance(event, LegacyCustomerRead):
            return None
        return AppliedRow(index, event, None, event.phone, field_rules.usable(context, event, NO_VALUES))
    if mirror.customer_is_deleted or not _is_newer(event, mirror):
        return None
    row = AppliedRow(
        index,
        event,
        mirror,
        field_rules.named_phone(event, mirror),
        field_rules.usable(context, event, mirror.values),
        mirror.customer_id,
    )
    differs = (row.phone, row.values) != (mirror.phone, mirror.values)
    # a sign-in in the future, which an earlier release may have stored, must leave the customer too
    return row if differs or is_after(mirror.customer_last_auth_at, context.tomorrow) else None


def _class(event: LegacyEvent, mirror: Mirror | None, row: AppliedRow | None) -> Class:
    """The class that the row counts in. An accepted row that this import has written before keeps its first class."""
    if mirror is not None and mirror.customer_is_deleted:
        return "skipped"
    if not isinstance(event, LegacyCustomerRead):
        return "rejected"
    if mirror is None:
        return "unchanged" if row is None else "created"
    if mirror.counted_as is not None:
        return mirror.counted_as
    return "unchanged" if row is None else "updated"


def _is_newer(event: LegacyEvent, mirror: Mirror) -> bool:
    """Whether this reading of the row is at least as new as the one that the mirror row holds.

    The greater dispatch number is newer (numbers grow over all imports), and any number is newer than none. A reading
    without a number is newer than one by an earlier import. Otherwise `read_at` decides, by vAptekeSync's clock.
    """
    if event.number is not None and mirror.number is not None and event.number != mirror.number:
        return event.number > mirror.number
    if (event.number is not None and mirror.number is None) or mirror.counted_as is None:
        return True
    return event.read_at >= mirror.read_at


# Who holds a phone: the same customer in the end, whatever the order of the batches


def phones_to_decide(rows: Iterable[AppliedRow]) -> set[str]:
    """The phones to lock. For each row that changes a claim: its phone, its mirror row's and its customer's."""
    phones: set[str | None] = set()
    for row in rows:
        if row.changes_claim:
            phones.add(row.phone)
            if row.mirror is not None:
                phones.update((row.mirror.phone, row.mirror.customer_phone))
    return {phone for phone in phones if phone is not None}


def _owners(phones: Phones, rows: Iterable[AppliedRow], customers: Customers) -> dict[str, int]:
    """The owner by phone: the active customer for whom the API set it, else the greatest claimant, else no entry."""
    # in ascending order, so that the greatest claim on a phone replaces the others
    owners = {each.phone: each.customer_id for each in sorted(_claims(phones, rows, customers))}
    for customer in customers.values():
        phone = customer.phone
        if phone is not None and phone in phones and customer.phone_from == "api" and customer.is_active:
            owners[phone] = customer.id
    return owners


def _claims(phones: Phones, rows: Iterable[AppliedRow], customers: Customers) -> Iterator[Claim]:
    """The claims on these phones after the batch: by applied rows, and by other customers' mirror rows.

    Deleted customers, and customers who hold a phone set by the API, have no claim.
    """
    applied = set()
    for row in rows:
        applied.add(row.event.legacy_id)
        if row.phone is not None and row.phone in phones and _may_claim(customers.get(row.customer_id)):
            yield claim(row.phone, row.values[LAST_AUTH_AT], row.event.legacy_id, row.customer_id)
    for customer in customers.values():
        named, legacy_id = customer.named_phone, customer.legacy_id
        if legacy_id is None or legacy_id in applied or not _may_claim(customer):
            continue
        if named is not None and named in phones:
            yield claim(named, customer.named_last_auth_at, legacy_id, customer.id)


def _may_claim(customer: LoadedCustomer | None) -> bool:
    return customer is None or (customer.is_active and customer.phone_from != "api")


def _accept_phones(rows: Iterable[AppliedRow], customers: Customers) -> dict[int, LoadedCustomer]:
    """By id, copies of customers whose row starts to name their API-given phone. `phone_from` of a copy is `import`."""
    accepted = {}
    for row in rows:
        customer = customers.get(row.customer_id)
        if customer is None or customer.phone_from != "api" or customer.phone != row.phone:
            continue
        if row.mirror is None or row.mirror.phone != row.phone:
            accepted[customer.id] = replace(customer, phone_from="import")
    return accepted


# What becomes of customers: at most one change for each, also if two exchange their phones


def decide(context: Context, comparison: Comparison, locked: Locked) -> Decision:
    """Decide what the rows of the comparison write. Sets `customer_id` and `joins` of its new rows.

    A row whose customer was deleted after the comparison is skipped. Raises ChangedMeanwhile, so that the transaction
    is retried, if a customer whose row changes a claim holds a phone that is not locked.
    """
    customers, phones = locked.customers, locked.phone_ids.keys()
    rows = [row for row in comparison.rows if row.is_new or customers[row.customer_id].is_active]
    claiming = [customers[row.customer_id] for row in rows if row.changes_claim and not row.is_new]
    if any(_holds_unlocked_phone(customer, phones) for customer in claiming):
        raise ChangedMeanwhile
    _assign_customers(rows, customers, iter(locked.new_ids))
    accepted = _accept_phones(rows, customers)
    customers = {**customers, **accepted}
    owners = _owners(phones, rows, customers)
    losers = {each.id for each in customers.values() if _loses(each, phones, owners)}
    return Decision(
        classes=_with_skipped(comparison, customers),
        rows=rows,
        losers=list(losers),
        accepted=list(accepted),
        created=[_created(row, owners, locked.at) for row in rows if row.is_new and not row.joins],
        changed=_changes(context, rows, customers, owners, losers, locked.at),
    )


def _holds_unlocked_phone(customer: LoadedCustomer, phones: Phones) -> bool:
    return customer.phone is not None and customer.phone not in phones


def _with_skipped(comparison: Comparison, customers: Customers) -> list[Class]:
    """The classes of all rows. A row whose customer was deleted after the comparison is skipped."""
    classes = list(comparison.classes)
    for row in comparison.rows:
        if not row.is_new and not customers[row.customer_id].is_active:
            classes[row.index] = "skipped"
    return classes


def _assign_customers(rows: Iterable[AppliedRow], customers: Customers, new_ids: Iterator[int]) -> None:
    """Set `customer_id` and `joins` of new rows. A row with a mirror row keeps its customer for good.

    A new row joins the active customer who has its phone and no legacy row; of several such rows, the greatest claimant
    joins. The others get new customers, with ids from `new_ids`.
    """
    waiting = {each.phone: each.id for each in customers.values() if each.is_active and each.legacy_id is None}
    greatest: dict[str | None, tuple[Claim, AppliedRow]] = {}
    for row in rows:
        if row.is_new and row.phone is not None and row.phone in waiting:
            ranked = claim(row.phone, row.values[LAST_AUTH_AT], row.event.legacy_id, 0), row
            greatest[row.phone] = max(ranked, greatest.get(row.phone, ranked), key=itemgetter(0))
    for phone, (_, row) in greatest.items():
        row.customer_id, row.joins = waiting[phone], True
    for row in rows:
        row.customer_id = row.customer_id or next(new_ids)


def _loses(customer: LoadedCustomer, phones: Phones, owners: Mapping[str, int]) -> bool:
    """Whether an active customer must give up its phone: `phones` has it, and `owners` has another or nobody for it."""
    phone = customer.phone
    return customer.is_active and phone is not None and phone in phones and owners.get(phone) != customer.id


def _created(row: AppliedRow, owners: Mapping[str, int], at: datetime) -> CustomerChange:
    phone = row.phone if row.phone is not None and owners[row.phone] == row.customer_id else None
    customer = LoadedCustomer(row.customer_id, 1, phone, "import" if phone else None, row.values, at, at)
    return CustomerChange("created", _differences((None, NO_VALUES), customer), customer)


def _changes(
    context: Context,
    rows: Iterable[AppliedRow],
    customers: Customers,
    owners: Mapping[str, int],
    losers: AbstractSet[int],
    at: datetime,
) -> list[CustomerChange]:
    """The changes of existing customers, by their row or by losing or getting a phone. Unchanged ones are left out."""
    row_of = {row.customer_id: row for row in rows}
    owned = {customer_id: phone for phone, customer_id in owners.items()}
    changes = []
    for before in customers.values():
        phone = owned.get(before.id, None if before.id in losers else before.phone)
        row = row_of.get(before.id)
        after = replace(
            before,
            phone=phone,
            phone_from=before.phone_from if phone == before.phone else "import" if phone else None,
            values=before.values if row is None else field_rules.merged(context, before.values, row),
            version=before.version + 1,
            updated_at=at,
        )
        if fields := _differences((before.phone, before.values), after):
            changes.append(CustomerChange("phone_changed" if "phone" in fields else "updated", fields, after))
    return changes


def _differences(before: tuple[str | None, Values], after: LoadedCustomer) -> list[str]:
    phone, values = before
    fields = ["phone"] if phone != after.phone else []
    fields += [name for name, old, new in zip(FIELDS, values, after.values, strict=True) if old != new]
    return fields
