"""Clients write, imports run and the relay is killed repeatedly: the events rebuild the customers exactly."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import customers_topic
import pytest
from customers_topic import STATE, PublishedEvent, State, first_of_each_version, rebuilt, shown, state, unlike
from imports_and_kills import Disturbances
from rest_writers import CUSTOMERS, Writers
from running_stack import RunningStack, running_stack
from vapteke_local import people, vaptekesync
from vapteke_shared.contract.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerEvent,
    CustomerPhoneChanged,
    CustomerRestored,
    CustomerUpdated,
)

KINDS = (CustomerCreated, CustomerUpdated, CustomerPhoneChanged, CustomerDeleted, CustomerRestored)


class Form(NamedTuple):
    seed: int
    writes: int
    legacy_rows: int
    strikes: int


SHORT = Form(seed=1, writes=3_000, legacy_rows=600, strikes=1)
LONG = Form(seed=2, writes=100_000, legacy_rows=6_000, strikes=5)


class Aftermath(NamedTuple):
    """Everything is written and sent: `published` is what a consumer reads, `sent` also counts aborted records."""

    form: Form
    stack: RunningStack
    writers: Writers
    disturbances: Disturbances
    rejected: int
    published: list[PublishedEvent]
    sent: int


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SHORT, id=f"seed {SHORT.seed}", marks=pytest.mark.timeout(900)),
        pytest.param(LONG, id=f"seed {LONG.seed}", marks=[pytest.mark.prove, pytest.mark.timeout(3600)]),
    ],
)
async def aftermath(request: pytest.FixtureRequest) -> AsyncIterator[Aftermath]:
    form: Form = request.param
    labelled = list(people.labelled(form.seed, form.legacy_rows))
    numbers = [expected.phone for _, expected in labelled if expected.phone]
    movable = [person.id for person, expected in labelled if expected.phone]
    dice = random.Random(form.seed)
    phones = [*dice.sample(numbers, len(numbers) // 2), *(f"7979{n:07}" for n in range(form.writes // 6))]
    dice.shuffle(phones)
    few = str(form.legacy_rows // 6)
    async with (
        vaptekesync.serve([tuple(person) for person, _ in labelled]) as legacy,
        running_stack(legacy, IMPORT_RANGE_ROWS=few, IMPORT_BATCH_ROWS=few) as stack,
    ):
        writers = Writers(stack.client, phones, form.seed)
        disturbances = Disturbances(stack, legacy, writers, phones, movable)
        await writers.write(form.writes, disturbances.happen(dice, form.writes, form.strikes))
        await stack.all_sent()
        published = await customers_topic.read(stack["kafka"])
        sent = len(await customers_topic.read(stack["kafka"], "read_uncommitted"))
        rejected = form.legacy_rows - len(movable)
        yield Aftermath(form, stack, writers, disturbances, rejected, published, sent)


async def held(stack: RunningStack) -> dict[int, State]:
    async with stack.database() as connection:
        return await customers_topic.held(connection)


async def test_nobody_is_answered_with_a_surprise(aftermath: Aftermath) -> None:
    writers, disturbances = aftermath.writers, aftermath.disturbances

    assert writers.surprises == []
    assert {status for _, status in writers.outcomes} == {200, 201, 404, 409, 412}
    assert writers.written >= aftermath.form.writes
    assert disturbances.kills >= 2 * aftermath.form.strikes
    for rows, job in disturbances.imports:
        assert (job["status"], job["error"]) == ("completed", None)
        assert (job["read"], job["rejected"]) == (rows, aftermath.rejected)


async def test_the_writers_and_the_imports_met(aftermath: Aftermath) -> None:
    first = first_of_each_version(aftermath.published)
    events = {place: published.event for place, published in first.items()}
    made = {(type(event), event.origin) for event in events.values()}
    lost = [e for (each, v), e in events.items() if e.phone is None and v > 1 and events[each, v - 1].phone]
    gained = [e for (each, v), e in events.items() if e.phone and v > 1 and events[each, v - 1].phone is None]
    async with aftermath.stack.database() as connection:
        linked = {row["customer_id"] for row in await connection.fetch("SELECT customer_id FROM legacy_customers")}

    assert made == {(kind, "api") for kind in KINDS} | {(kind, "import") for kind in KINDS[:3]}
    assert "import" in {event.origin for event in lost}
    assert {event.origin for event in gained} == {"api", "import"}
    assert linked & aftermath.writers.created
    assert all(job["repaired"] for _, job in aftermath.disturbances.imports)


async def test_kills_struck_the_relay_as_it_sent(aftermath: Aftermath) -> None:
    aborted, repeated = (
        aftermath.sent - len(aftermath.published),
        len(aftermath.published) - len(first_of_each_version(aftermath.published)),
    )

    assert aborted + repeated > 0


async def test_a_consumer_that_reads_from_the_start_rebuilds_the_customers(aftermath: Aftermath) -> None:
    assert unlike(rebuilt(aftermath.published), await held(aftermath.stack))[:3] == []


async def test_each_version_is_published_in_order_and_repeats_are_identical(aftermath: Aftermath) -> None:
    first = first_of_each_version(aftermath.published)

    assert [each for each in aftermath.published if each.seal != first[each.event.id, each.event.version].seal][
        :3
    ] == []
    order: dict[int, list[int]] = {}
    for customer_id, version in first:
        order.setdefault(customer_id, []).append(version)
    assert [versions for versions in order.values() if versions != list(range(1, len(versions) + 1))][:3] == []


async def test_the_later_version_is_the_later_instant(aftermath: Aftermath) -> None:
    first = first_of_each_version(aftermath.published)
    pairs = [
        (first[each, version - 1].event, published.event) for (each, version), published in first.items() if version > 1
    ]

    assert [pair for pair in pairs if pair[0].updated_at > pair[1].updated_at][:3] == []


async def test_the_key_and_the_subject_are_the_customer(aftermath: Aftermath) -> None:
    assert [each for each in aftermath.published if not each.key == each.subject == str(each.event.id)][:3] == []


async def test_what_is_called_changed_is_what_differs_from_the_version_before(aftermath: Aftermath) -> None:
    first = first_of_each_version(aftermath.published)

    for (customer_id, version), (_, _, event, _) in first.items():
        before = first[customer_id, version - 1].event if version > 1 else None
        assert (sorted(event.changed), type(event)) == (differing(before, event), kind(before, event)), event


def differing(before: CustomerEvent | None, after: CustomerEvent) -> list[str]:
    old = state(before) if before else dict.fromkeys(STATE)
    bookkeeping = {"id", "version", "created_at", "updated_at"}
    return sorted(name for name, value in state(after).items() if value != old[name] and name not in bookkeeping)


def kind(before: CustomerEvent | None, after: CustomerEvent) -> type[CustomerEvent]:
    if before is None:
        return CustomerCreated
    if (before.deleted_at is None) != (after.deleted_at is None):
        return CustomerDeleted if after.deleted_at else CustomerRestored
    return CustomerUpdated if before.phone == after.phone else CustomerPhoneChanged


async def test_what_the_clients_were_answered_is_what_is_published(aftermath: Aftermath) -> None:
    writers, first = aftermath.writers, first_of_each_version(aftermath.published)
    events = [each.event for each in first.values()]

    assert {event.id for event in events if type(event) is CustomerCreated and event.origin == "api"} == writers.created
    deleted = [event for event in events if type(event) is CustomerDeleted]
    assert len(deleted) == writers.outcomes["delete", 200]
    for customer_id, version, answered in writers.answers:
        published = shown(first[customer_id, version].event)
        assert answered.items() <= published.items(), (customer_id, version)


async def test_a_sample_of_the_customers_is_shown_as_it_was_published(aftermath: Aftermath) -> None:
    published = {each.event.id: each.event for each in aftermath.published}
    for customer_id in random.Random(aftermath.form.seed).sample(sorted(published), 200):
        answer = await aftermath.stack.client.get(f"{CUSTOMERS}{customer_id}/")
        event = published[customer_id]

        if event.deleted_at:
            assert answer.status_code == 404
        else:
            assert answer.json().items() <= shown(event).items()
            assert answer.headers["etag"] == f'"{event.version}"'


async def test_who_holds_a_phone_follows_from_the_state_alone(aftermath: Aftermath) -> None:
    active = [
        each["phone"] for each in rebuilt(aftermath.published).values() if each["phone"] and not each["deleted_at"]
    ]
    async with aftermath.stack.database() as connection:
        wrong: list[Any] = await connection.fetch(_WRONG_HOLDERS)

    assert len(active) == len(set(active))
    assert wrong == []


# The active customer to whom the API gave it; else, of the active without an API-given phone whose legacy row names it,
# the one last seen; else nobody.
_WRONG_HOLDERS = """
WITH active AS (SELECT * FROM customers WHERE deleted_at IS NULL),
claimants AS (
    SELECT DISTINCT ON (m.phone_id) m.phone_id, m.customer_id
    FROM legacy_customers m JOIN active c ON c.id = m.customer_id AND c.phone_from IS DISTINCT FROM 'api'
    ORDER BY m.phone_id, m.last_auth_at DESC NULLS LAST, m.legacy_id DESC
)
SELECT p.id AS phone_id, holder.id AS holder, holder.phone_from, claimants.customer_id AS claimant
FROM phones p
LEFT JOIN active holder ON holder.phone_id = p.id
LEFT JOIN claimants ON claimants.phone_id = p.id
WHERE holder.phone_from IS DISTINCT FROM 'api' AND holder.id IS DISTINCT FROM claimants.customer_id
"""


async def test_a_consumer_that_starts_after_compaction_rebuilds_the_customers(aftermath: Aftermath) -> None:
    stack = aftermath.stack
    await customers_topic.compact_soon(stack["kafka"])
    later = await write_to_each_partition(stack)

    most = len(rebuilt(aftermath.published)) + later
    async with asyncio.timeout(100):
        while len(published := await customers_topic.read(stack["kafka"])) > most:
            await asyncio.sleep(0.5)

    assert len(published) < len(aftermath.published)
    assert unlike(rebuilt(published), await held(stack))[:3] == []


async def write_to_each_partition(stack: RunningStack) -> int:
    """What is written now is not compacted, what was written before can be; returns how many records there are more."""
    async with customers_topic.watched(stack["kafka"]) as consumer, stack.database() as connection:
        active = await connection.fetch("SELECT id FROM customers WHERE deleted_at IS NULL ORDER BY id LIMIT 100")
        before = await customers_topic.ends(consumer)
        for row in active:
            answer = await stack.client.patch(f"{CUSTOMERS}{row['id']}/", json={"lastname": "После"})
            assert answer.status_code == 200
        await stack.all_sent()
        after = await customers_topic.ends(consumer)
        assert [place for place in after if after[place] == before[place]] == []
    return len(active)
