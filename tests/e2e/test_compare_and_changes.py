"""Comparisons find exactly what differs and write nothing; imports of changes read no more than what has changed."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from arrivals import ON_A_BUSY_MACHINE, arrived
from restartable_legacy import WITH_ROWVERSION, RestartableLegacy
from running_stack import RunningStack
from stack_sizes import FULL, Size
from stack_state import IMPORTS, Cost, at_rest, costs, customers_of, events_since, resume, sent_so_far, tables

CUSTOMERS = "/rest/v1/customers/"
CLASSES = ("read", "created", "updated", "unchanged", "skipped", "rejected")
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("filled")]

Differences = list[tuple[int | None, int | None, str, tuple[str, ...]]]


async def differences(stack: RunningStack, import_id: str) -> Differences:
    found = await stack.items(f"{IMPORTS}{import_id}/differences/")
    return sorted((d["legacy_id"], d["customer_id"], d["difference"], tuple(d["fields"])) for d in found)


async def test_a_comparison_finds_fifty_changed_rows_and_twenty_broken_customers_and_nothing_else(
    legacy: RestartableLegacy, stack: RunningStack
) -> None:
    people = iter(legacy.with_own_phone[:: len(legacy.with_own_phone) // 60])
    updated, moved, gone, rejected, phoneless, orphans = [[next(people).id for _ in range(10)] for _ in range(6)]
    phoneless = phoneless[:5]
    losers = {expected.rival: person.id for person, expected in legacy.labelled if expected.rival is not None}
    wronged = dict(list(losers.items())[:5])
    customers = await customers_of(stack, [person.id for person in legacy.rows])
    new = range(legacy.rows[-1].id + 1, legacy.rows[-1].id + 11)
    for number in range(10):
        legacy.server.put({"ID": new[number], "Phone": f"7999100000{number}"})
        legacy.server.put({"ID": updated[number], "LastName": "Другая"})
        legacy.server.put({"ID": moved[number], "Phone": f"7999200000{number}"})
        legacy.server.put({"ID": rejected[number], "Phone": "нет"})
        legacy.server.remove(gone[number])
    async with stack.database() as connection:
        await connection.execute(_TAKE_PHONE, [customers[key] for key in [*phoneless, *wronged]])
        await connection.execute(_GIVE_PHONE, list(wronged.values()))
        await connection.execute("DELETE FROM customers WHERE id = ANY($1)", [customers[key] for key in orphans])
    before, begin = await stack.versions(), await sent_so_far(stack)

    compared = await stack.run("compare")

    expected: Differences = [
        *((key, None, "would_create", ()) for key in new),
        *((key, customers[key], "would_update", ("lastname",)) for key in updated),
        *((key, customers[key], "would_update", ("phone",)) for key in moved),
        *((key, customers[key], "gone", ()) for key in gone),
        *((key, customers[key], "would_reject", ()) for key in rejected),
        *((key, customers[key], "phone_owner", ("phone",)) for key in [*phoneless, *wronged]),
        *((key, customers[key], "orphan", ()) for key in orphans),
    ]
    assert len(expected) == 70
    assert (compared["status"], compared["gone"]) == ("completed", 0)
    assert await differences(stack, compared["id"]) == sorted(expected)
    assert (await stack.versions(), await events_since(stack, begin)) == (before, [])

    full = await stack.imported()

    assert {name: compared[name] for name in CLASSES} == {name: full[name] for name in CLASSES}
    assert (full["created"], full["updated"], full["gone"]) == (10, 20, 10)


_TAKE_PHONE = "UPDATE customers SET phone_id = NULL, phone_from = NULL WHERE id = ANY($1)"
_GIVE_PHONE = """
UPDATE customers c SET phone_id = m.phone_id, phone_from = 'import'
FROM legacy_customers m WHERE m.customer_id = c.id AND m.legacy_id = ANY($1)
"""


async def test_what_imports_and_callers_change_during_a_comparison_is_no_difference(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    people = legacy.with_own_phone[:: len(legacy.with_own_phone) // (2 * size.meanwhile)]
    by_vaptekesync = [person.id for person in people[: 2 * size.meanwhile : 2]]
    by_callers = await customers_of(stack, [person.id for person in people[1 : 2 * size.meanwhile : 2]])
    legacy.server.set_fault("delay", statement="range", seconds=5 if size is FULL else 2)
    answer = await stack.client.post(IMPORTS, json={"kind": "compare"})
    async with asyncio.timeout(120):
        while not (await stack.client.get(answer.headers["location"])).json()["read"]:
            await asyncio.sleep(0.05)

    for key in by_vaptekesync:
        legacy.server.put({"ID": key, "LastName": "Поздняя"})
    urls = [await start_rows(stack, by_vaptekesync[start : start + 100]) for start in range(0, size.meanwhile, 100)]
    for customer_id in by_callers.values():
        changed = await stack.client.patch(f"{CUSTOMERS}{customer_id}/", json={"lastname": "Другая"})
        assert changed.status_code == 200
    jobs = [await stack.ended(url) for url in urls]
    legacy.server.clear_faults()
    compared = await stack.ended(answer.headers["location"])

    assert {job["status"] for job in [*jobs, compared]} == {"completed"}
    assert sum(job["updated"] for job in jobs) == size.meanwhile
    assert max(job["finished_at"] for job in jobs) < compared["finished_at"]
    assert await differences(stack, compared["id"]) == []
    assert (await stack.imported())["updated"] == 0


async def start_rows(stack: RunningStack, legacy_ids: Sequence[int]) -> str:
    """Returns the URL of the job."""
    answer = await stack.client.post(IMPORTS, json={"kind": "rows", "legacy_ids": legacy_ids})
    assert answer.status_code == 202, answer.text
    url: str = answer.headers["location"]
    return url


@pytest.mark.parametrize("version", [False, True], ids=["without a rowversion", "with a rowversion"])
async def test_an_import_of_changes_reads_one_range_for_one_changed_row_and_nothing_for_none(
    legacy: RestartableLegacy, stack: RunningStack, size: Size, version: bool
) -> None:
    if version:
        await legacy.restart(table=WITH_ROWVERSION, rows=[(*row, None) for row in legacy.rows])
        assert (await stack.run("changes"))["full_because"]
    await at_rest(stack)
    before, sent, used = await tables(stack), legacy.server.stats.statements["range"], costs(stack)

    nothing = await stack.run("changes")

    show("nothing changed", nothing, used, costs(stack))
    await stack.all_sent()
    after = await tables(stack)
    assert (nothing["kind"], nothing["read"], nothing["unread"]) == ("changes", 0, size.customers)
    assert legacy.server.stats.statements["range"] == sent
    assert {name for name in after if after[name] != before[name]} <= OF_THE_JOB

    legacy.server.put({"ID": legacy.with_own_phone[0].id, "LastName": "Новая"})
    used = costs(stack)
    one = await stack.run("changes")

    show("one row changed", one, used, costs(stack))
    assert (one["kind"], one["read"], one["updated"]) == ("changes", size.rows_per_range, 1)
    assert (one["unread"], legacy.server.stats.statements["range"]) == (size.customers - one["read"], sent + 1)


OF_THE_JOB = {"imports", "outbox", "consumed_offsets", "import_schedule"}
"""Where an import without changes writes: its job, the events for the importers, and how far those of them were read.
The schedule notes its next time, also while it is paused."""


def show(what: str, job: Mapping[str, Any], before: Mapping[str, Cost], after: Mapping[str, Cost]) -> None:
    begun, ended = (datetime.fromisoformat(job[name]) for name in ("requested_at", "finished_at"))
    cpu = {name: round(after[name].cpu_seconds - before[name].cpu_seconds, 2) for name in after}
    print(f"{what}: {(ended - begun).total_seconds():.2f} s; CPU seconds: {cpu}")  # noqa: T201 - shown by `pytest -s`


async def test_a_change_is_in_rest_and_on_kafka_soon_after_the_schedule_is_due(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    changed = [person.id for person in legacy.with_own_phone[-10 if size is FULL else -2 :]]
    customers = await customers_of(stack, changed)
    await resume(stack)

    seconds = [await arrived(legacy.server, stack, key, customers[key], "Новая") for key in changed]

    shown = [round(each, 1) for each in seconds]
    print(f"seconds until REST and Kafka have a change, under {size.schedule}: {shown}")  # noqa: T201
    assert size is not FULL or max(seconds) <= ON_A_BUSY_MACHINE
