"""An installation of an earlier release, in the middle of its work, is upgraded while it is being used.

`tests/support/upgrades.py` has the steps. What was seen meanwhile and afterwards is compared here.
"""

import asyncio
from collections.abc import AsyncIterator
from operator import attrgetter

import customers_topic
import pytest
from customers_topic import rebuilt, unlike
from releases import releases
from running_stack import START_SECONDS
from upgrades import CUSTOMERS, FAVORITES, SEED, Form, Upgrade
from vapteke_local import people, vaptekesync
from vapteke_local.machine import cleanup

EARLIER = "88da23c"
"""The last commit whose imports have one kind, and neither a schedule nor fingerprints nor rows that are gone."""
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Form(2_000, 100, 40, 200), id="short"),
        pytest.param(Form(78_553, 1_000, 2_000, 4_000), id="78,553 customers", marks=pytest.mark.prove),
    ],
)
async def upgrade(request: pytest.FixtureRequest) -> AsyncIterator[Upgrade]:
    form: Form = request.param
    rows = sorted(people.generate(SEED, form.customers), key=attrgetter("id"))
    people_there = SEED, form.customers
    settings = {
        "IMPORT_RANGE_ROWS": str(form.rows_per_range),
        "IMPORT_RANGES_IN_FLIGHT": "4",
        "IMPORT_DELETIONS": "apply",
    }
    with cleanup.temporary_folder("vapteke-tests-") as folder:
        async with (
            vaptekesync.serve([tuple(person) for person in rows]) as legacy,
            releases(EARLIER, folder, legacy, people_there, **settings) as both,
        ):
            upgrade = Upgrade(form, both, legacy, rows)
            await upgrade.happen()
            yield upgrade


async def test_each_release_ran_its_own_code(upgrade: Upgrade) -> None:
    old, new = upgrade.both.old, upgrade.both.new

    assert (old.is_of(old.sources), new.is_of(old.sources)) == (True, False)


async def test_records_and_changes_were_waiting(upgrade: Upgrade) -> None:
    assert all(upgrade.waiting.values()), upgrade.waiting


async def test_every_write_was_answered_and_the_old_tokens_were_accepted(upgrade: Upgrade) -> None:
    assert set(upgrade.answers) == {("old", 200), ("new", 200)}
    assert min(upgrade.answers.values()) > 20


async def test_no_process_ended_by_itself(upgrade: Upgrade) -> None:
    assert upgrade.deaths.total() == 0, upgrade.deaths


async def test_an_import_was_in_its_middle_when_the_old_processes_were_stopped(upgrade: Upgrade) -> None:
    assert upgrade.unfinished_at_the_stop


async def test_old_and_new_processes_never_lock_each_other_out(upgrade: Upgrade) -> None:
    async with upgrade.both.database() as connection:
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )

    assert deadlocks == 0


async def test_every_row_of_the_mirror_has_its_customer_and_phone(upgrade: Upgrade) -> None:
    async with upgrade.both.database() as connection:
        assert await connection.fetchval(_ORPHANS) == 0


_ORPHANS = """
SELECT count(*) FROM legacy_customers m
LEFT JOIN customers c ON c.id = m.customer_id LEFT JOIN phones p ON p.id = m.phone_id
WHERE c.id IS NULL OR m.phone_id IS NOT NULL AND p.id IS NULL
"""


async def test_every_import_accounts_for_every_row(upgrade: Upgrade) -> None:
    before, added = upgrade.form.customers, upgrade.form.added
    rows = dict.fromkeys(upgrade.jobs, before + 2 * added) | {"first": before, "begun before": before + added}

    ends = {name: (job["status"], job["error"], job["read"]) for name, job in upgrade.jobs.items()}

    assert ends == {name: ("completed", None, count) for name, count in rows.items()}


async def test_new_and_changed_rows_were_applied_while_releases_changed(upgrade: Upgrade) -> None:
    jobs = [upgrade.jobs[name] for name in ("begun before", "begun side by side")]

    assert min(job["created"] for job in jobs) >= upgrade.form.added
    assert min(job["updated"] for job in jobs) > upgrade.form.swaps


async def test_the_same_rows_again_change_nothing(upgrade: Upgrade) -> None:
    changed = "first", "begun before", "begun side by side", "after"
    counts = {
        name: (job["created"], job["updated"], job["skipped"])
        for name, job in upgrade.jobs.items()
        if name not in changed
    }

    assert counts == dict.fromkeys(counts, (0, 0, len(upgrade.deleted)))


async def test_old_and_new_workers_and_importers_understand_each_other_and_say_why_an_import_is_full(
    upgrade: Upgrade,
) -> None:
    kinds = {name: (job["kind"], job["full_because"]) for name, job in upgrade.jobs.items() if " by an old " in name}

    assert kinds == {
        "changes by an old worker": ("changes", None),  # it reads everything
        "a comparison by an old worker": ("compare", None),  # it is applied as a full import
        "changes by an old importer": ("full", "an importer of an earlier release has made the plan"),
        "a comparison by an old importer": ("compare", None),
    }
    assert upgrade.jobs["changes after an old worker"]["full_because"] == "no key ranges are stored"


async def test_a_comparison_by_an_old_importer_writes_nothing_and_finds_what_every_import_finds(
    upgrade: Upgrade,
) -> None:
    """Customers who were deleted, and customers whose row has got an unusable phone in exchange for theirs."""
    assert upgrade.unwritten
    assert {difference for _, difference in upgrade.differences} == {"would_skip", "would_reject"}
    skipped = [customer_id for customer_id, difference in upgrade.differences if difference == "would_skip"]
    assert skipped == sorted(upgrade.deleted)


async def test_no_row_counts_as_gone_because_an_old_worker_has_applied_it(upgrade: Upgrade) -> None:
    assert {job.get("gone", 0) for job in upgrade.jobs.values()} == {0}


async def test_no_customer_is_lost(upgrade: Upgrade) -> None:
    assert upgrade.active - await upgrade.customers() == upgrade.deleted & upgrade.active


async def test_favorites_are_the_same_and_follow_their_customers(upgrade: Upgrade) -> None:
    await upgrade.all_followed()

    shown = {
        customer_id: (await upgrade.call("GET", f"{FAVORITES}?user_id={customer_id}"))["count"]
        for customer_id in upgrade.favorites
    }

    assert await upgrade.marked() == upgrade.favorites
    assert {customer_id for customer_id, count in shown.items() if not count} == upgrade.deleted & shown.keys()


async def test_a_name_that_was_written_in_another_form_is_found(upgrade: Upgrade) -> None:
    async with asyncio.timeout(START_SECONDS):
        while (await upgrade.call("GET", f"{CUSTOMERS}?firstname=Андрей&lastname=Липа"))["count"] != 1:
            await asyncio.sleep(0.2)


async def test_no_follower_diverges(upgrade: Upgrade) -> None:
    published = rebuilt(await customers_topic.read(upgrade.both.bootstrap))
    async with upgrade.both.database() as connection:
        held = await customers_topic.held(connection)

    assert unlike(published, held)[:3] == []


async def test_the_imports_of_before_are_shown_as_they_were(upgrade: Upgrade) -> None:
    after = {job["id"]: job for job in await upgrade.ended_imports()}

    assert {job["status"] for job in upgrade.history} == {"completed", "cancelled"}
    assert [after[job["id"]] | job for job in upgrade.history] == [after[job["id"]] for job in upgrade.history]
