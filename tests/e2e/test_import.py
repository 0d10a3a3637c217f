"""An import from the endpoint to the verdict, with real processes, a real Kafka and the real ODBC driver."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from restartable_legacy import WITH_ROWVERSION, RestartableLegacy
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people
from vapteke_local.vaptekesync import CUSTOMERS
from writers_of_legacy import writing

SEED, COUNT, RANGE_ROWS = 5, 3_000, 500
TIMEOUT, SLEEP, ATTEMPTS = 2, 1, 2
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
async def legacy() -> AsyncIterator[RestartableLegacy]:
    legacy = RestartableLegacy(SEED, COUNT)
    await legacy.start()
    yield legacy
    await legacy.stop()


@pytest.fixture(scope="module")
async def stack(legacy: RestartableLegacy) -> AsyncIterator[RunningStack]:
    variables = {
        "IMPORT_RANGE_ROWS": str(RANGE_ROWS),
        "MSSQL_TIMEOUT": str(TIMEOUT),
        "MSSQL_RETRIES_SLEEP": str(SLEEP),
        "MSSQL_RETRIES_COUNT": str(ATTEMPTS - 1),
    }
    async with running_stack(legacy.server, **variables) as stack:
        yield stack


@pytest.fixture
async def whole(legacy: RestartableLegacy, stack: RunningStack) -> AsyncIterator[None]:
    """The next import works, whatever this test has done to vAptekeSync."""
    yield
    await legacy.restart()
    await stack.healthy()
    job = await stack.imported()
    assert (job["status"], job["error"]) == ("completed", None)


async def test_a_first_import_is_exact(stack: RunningStack) -> None:
    await stack.forget_customers()

    job = await stack.imported()

    assert (job["status"], job["error"], job["percent"]) == ("completed", None, 100.0)
    assert verdict(job) == people.truth(SEED, COUNT)


async def test_an_import_from_the_command_line_ends_with_its_verdict(stack: RunningStack) -> None:
    await stack.forget_customers()

    code, output = await stack.command("customers-api", "import", "--wait")

    counted = dict(re.findall(r"(\w+) +│ +([\d,]+) │", output))
    truth = people.truth(SEED, COUNT)
    assert (code, {name: int(counted[name].replace(",", "")) for name in truth}) == (0, truth)
    job = (await stack.client.get(f"/rest/v1/imports/{output.split()[0]}/")).json()
    assert (job["requested_by"], verdict(job)) == ("command line", truth)


async def test_the_customers_are_those_of_vaptekesync(stack: RunningStack) -> None:
    await stack.imported()

    async with stack.database() as connection:
        rows = await connection.fetch(
            "SELECT m.legacy_id, p.digits, f.name, c.lastname, c.last_auth_at FROM legacy_customers m"
            " JOIN customers c ON c.id = m.customer_id LEFT JOIN phones p ON p.id = c.phone_id"
            " LEFT JOIN firstnames f ON f.id = c.firstname_id ORDER BY 1"
        )

    assert [tuple(row) for row in rows] == [_customer(*pair) for pair in people.labelled(SEED, COUNT) if _taken(pair)]


def _taken(pair: tuple[people.Person, people.Expected]) -> bool:
    return pair[1].verdict == "created"


def _customer(person: people.Person, expected: people.Expected) -> tuple[object, ...]:
    return (
        person.id,
        expected.phone if expected.rival is None else None,
        _text(person.first_name, "first_name" in expected.unusable),
        _text(person.last_name, "last_name" in expected.unusable),
        person.last_auth_at and person.last_auth_at.replace(tzinfo=UTC),
    )


def _text(text: str | None, unusable: bool) -> str | None:
    return None if unusable else (text or "").strip() or None


async def test_a_second_import_writes_nothing(stack: RunningStack) -> None:
    await stack.imported()
    before = await stack.versions()

    job = await stack.imported()

    assert verdict(job) == people.truth_again(SEED, COUNT)
    assert await stack.versions() == before


async def test_the_plan_and_each_range_are_read_on_a_connection_of_their_own(
    legacy: RestartableLegacy, stack: RunningStack
) -> None:
    before = legacy.server.stats.logins_received

    await stack.imported()

    assert legacy.server.stats.logins_received - before == 1 + math.ceil(COUNT / RANGE_ROWS)
    assert legacy.server.stats.connections_open == 0


async def test_a_change_arrives(legacy: RestartableLegacy, stack: RunningStack, whole: None) -> None:
    await stack.imported()
    person = next(pair[0] for pair in people.labelled(SEED, COUNT) if _taken(pair) and pair[1].rival is None)

    legacy.server.put({"ID": person.id, "LastName": "Новая", "LastAuthAt": datetime(2025, 1, 1)})
    job = await stack.imported()

    assert (job["updated"], job["created"]) == (1, 0)


async def test_a_comparison_lists_a_change_and_writes_nothing(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await stack.imported()
    person = next(pair[0] for pair in people.labelled(SEED, COUNT) if _taken(pair) and pair[1].rival is None)
    legacy.server.put({"ID": person.id, "LastName": "Новая"})
    before = await stack.versions()

    job = await stack.run("compare")

    page = (await stack.client.get(f"/rest/v1/imports/{job['id']}/differences/")).json()
    found = [(each["legacy_id"], each["difference"], each["fields"]) for each in page["items"]]
    assert (job["kind"], job["status"], job["updated"]) == ("compare", "completed", 1)
    assert found == [(person.id, "would_update", ["lastname"])]
    assert await stack.versions() == before


async def test_an_import_of_changes_reads_only_the_ranges_with_changes(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await stack.imported()
    people_taken = [pair[0] for pair in people.labelled(SEED, COUNT) if _taken(pair) and pair[1].rival is None]
    changed, removed = people_taken[0], people_taken[-1]
    nothing = await _changes(stack)
    legacy.server.put({"ID": changed.id, "LastName": "Новая"})
    legacy.server.change({"do": "set", "id": removed.id, "values": {"LastName": "Поздняя"}, "transaction": "late"})
    early = await _changes(stack)
    legacy.server.change({"do": "commit", "transaction": "late"})
    late = await _changes(stack)
    legacy.server.remove(removed.id)
    gone = await _changes(stack)

    jobs = [(job["kind"], job["read"], job["unread"], job["updated"], job["gone"]) for job in (nothing, early, late)]
    assert jobs == [
        ("changes", 0, COUNT, 0, 0),
        ("changes", RANGE_ROWS, COUNT - RANGE_ROWS, 1, 0),
        ("changes", RANGE_ROWS, COUNT - RANGE_ROWS, 1, 0),
    ]
    assert (gone["kind"], gone["read"], gone["unread"], gone["gone"]) == (
        "changes",
        RANGE_ROWS - 1,
        COUNT - RANGE_ROWS,
        1,
    )


async def _changes(stack: RunningStack) -> dict[str, Any]:
    job = await stack.run("changes")
    assert (job["status"], job["error"], job["full_because"]) == ("completed", None, None)
    return job


async def test_single_rows_are_read_at_once_alone_and_while_a_full_import_runs(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await stack.imported()
    pairs = list(people.labelled(SEED, COUNT))
    plain = [pair[0].id for pair in pairs if _taken(pair) and not pair[1].repaired]
    changed, unchanged, removed = plain[0], plain[1], plain[-1]
    rejected = next(person.id for person, expected in pairs if expected.verdict == "rejected")
    held, holder = next((person.id, expected.rival) for person, expected in pairs if expected.rival)
    new = pairs[-1][0].id + 1
    legacy.server.put({"ID": changed, "LastName": "Новая"})
    legacy.server.put({"ID": new, "Phone": "+7 000 000-00-01"})
    legacy.server.remove(removed)
    expected = {
        changed: "updated",
        unchanged: "unchanged",
        removed: "absent",
        rejected: "rejected",
        held: "unchanged",
        new: "created",
    }

    job, rows = await _rows(stack, list(expected))
    again, _ = await _rows(stack, list(expected))
    legacy.server.put({"ID": changed, "LastName": "Новейшая"})
    url = await stack.start_import()
    beside, _ = await _rows(stack, list(expected))
    full = await stack.ended(url)

    classes = ("status", "error", "read", "created", "updated", "unchanged", "rejected")
    assert [job[name] for name in classes] == ["completed", None, 5, 1, 1, 2, 1]
    assert {row["legacy_id"]: row["outcome"] for row in rows} == expected
    [holding] = [row["phone_held_by"]["legacy_id"] for row in rows if row["phone_held_by"]]
    assert holding == holder
    assert [again[name] for name in classes] == ["completed", None, 5, 0, 0, 4, 1]
    assert (beside["status"], beside["error"], beside["read"], beside["rejected"]) == ("completed", None, 5, 1)
    assert (full["status"], full["error"], full["read"], full["created"]) == ("completed", None, COUNT, 0)
    assert beside["updated"] + full["updated"] == 1
    async with stack.database() as connection:
        name = (
            "SELECT lastname FROM customers WHERE id = (SELECT customer_id FROM legacy_customers WHERE legacy_id = $1)"
        )
        assert await connection.fetchval(name, changed) == "Новейшая"


async def _rows(stack: RunningStack, legacy_ids: list[int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = await stack.client.post("/rest/v1/imports/", json={"kind": "rows", "legacy_ids": legacy_ids})
    job = await stack.ended(answer.headers["location"])
    return job, (await stack.client.get(f"{answer.headers['location']}rows/")).json()["items"]


@pytest.fixture(params=["hash", "rowversion"])
async def tortured(request: pytest.FixtureRequest, legacy: RestartableLegacy, whole: None) -> RestartableLegacy:
    """With the table that has a rowversion, or with the one that has none."""
    if request.param == "rowversion":
        await legacy.restart(rows=[(*row, None) for row in legacy.rows], table=WITH_ROWVERSION)
    return legacy


async def test_imports_of_changes_among_late_transactions_leave_no_difference(
    tortured: RestartableLegacy, stack: RunningStack
) -> None:
    await _torture(tortured, stack, seconds=4, longest_seconds=2)


@pytest.mark.prove
async def test_two_minutes_of_changes_among_late_transactions_leave_no_difference(
    tortured: RestartableLegacy, stack: RunningStack
) -> None:
    await _torture(tortured, stack, seconds=120, longest_seconds=20)


async def _torture(legacy: RestartableLegacy, stack: RunningStack, seconds: float, longest_seconds: float) -> None:
    """Imports of changes, one a second, while many transactions commit late; then a comparison finds nothing."""
    await stack.imported()
    jobs = list[dict[str, Any]]()
    end = time.monotonic() + seconds
    async with writing(legacy.server, [row.id for row in legacy.rows], longest_seconds) as writers:
        while (started := time.monotonic()) < end:
            jobs.append(await _changes(stack))
            await asyncio.sleep(max(0, started + 1 - time.monotonic()))
    jobs.append(await _changes(stack))

    comparison = await stack.run("compare")

    differences = await stack.items(f"/rest/v1/imports/{comparison['id']}/differences/")
    assert (comparison["status"], differences) == ("completed", [])
    assert sum(each.committed for each in writers) > sum(job["created"] + job["updated"] for job in jobs) > 0


async def test_an_altered_table_makes_an_import_of_changes_full_and_says_why(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await stack.imported()
    await legacy.restart(table=CUSTOMERS.altered("CityID", sql_type="bigint"))

    job = await stack.run("changes")

    assert (job["status"], job["kind"], job["read"], job["unread"]) == ("completed", "full", COUNT, 0)
    assert job["full_because"] == "these have changed since the last import: table_altered_at"
    [warning] = job["warnings"]
    assert "city_id was read from CityID (int) and is read from CityID (bigint)" in warning


async def test_a_wrong_password_fails_at_the_first_attempt(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await legacy.restart(password="another-password")

    job = await stack.imported()

    assert (job["status"], "attempts:" in job["error"]) == ("failed", False)
    assert "refused the login: check VAPTEKESYNC_USER, VAPTEKESYNC_PASSWORD and VAPTEKESYNC_DB" in job["error"]


async def test_a_missing_column_fails_at_the_first_attempt(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await legacy.restart(table=CUSTOMERS.altered("Birthday", name="Born"))

    job = await stack.imported()

    assert (job["status"], "attempts:" in job["error"]) == ("failed", False)
    assert job["error"].startswith("table dbo.Customers has no column Birthday, or the user has no right to read it: ")


@pytest.mark.parametrize("fault", ["refused", "silent", "silent in mid-result", "away"])
async def test_a_server_that_does_not_answer_fails_in_time(
    legacy: RestartableLegacy, stack: RunningStack, whole: None, fault: str
) -> None:
    match fault:
        case "refused":
            legacy.server.set_fault("refuse")
        case "silent":
            legacy.server.set_fault("silent")
        case "silent in mid-result":
            legacy.server.set_fault("silent", rows=100, times=1000)
        case "away":
            await legacy.stop()
    started = time.monotonic()

    job = await stack.imported()

    assert time.monotonic() - started < 120, "it ended as stalled, or by another deadline than ours"
    assert job["status"] == "failed", job
    assert job["error"].endswith(f"attempts: {ATTEMPTS}")
    assert f"vAptekeSync at 127.0.0.1:{legacy.server.port}" in job["error"]
    await stack.healthy()


async def test_a_connection_lost_in_mid_result_is_read_again(
    legacy: RestartableLegacy, stack: RunningStack, whole: None
) -> None:
    await stack.forget_customers()
    legacy.server.set_fault("drop", rows=200, nth=3)

    job = await stack.imported()

    assert (job["status"], verdict(job)) == ("completed", people.truth(SEED, COUNT))
