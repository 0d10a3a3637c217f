"""The rules of applying legacy customers, on real Postgres."""

from datetime import UTC, date, datetime, timedelta
from unicodedata import normalize
from uuid import UUID

import asyncpg
import msgspec
import pytest
from customers_api.customers import queries, writes
from customers_api.imports.consumers import ImportConsumers
from legacy_events import CLUSTER, READ_AT, Attempt, counts, end_import, people_of, records, start_import

EARLIER, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
PHONE, OTHER = "79025163111", "79025163112"


async def deliver(consumers: ImportConsumers, pool: asyncpg.Pool, *events: object) -> None:
    first = await pool.fetchval("SELECT coalesce(max(next_offset), 0) FROM consumed_offsets")
    await consumers.apply_legacy(records(events, first), CLUSTER, {})  # type: ignore[arg-type]


async def again(pool: asyncpg.Pool) -> Attempt:
    """The first range of the next import, read a day later."""
    await end_import(pool)
    await pool.execute("DELETE FROM import_counts")
    return Attempt(await start_import(pool), read_at=READ_AT + timedelta(days=1))


async def written(pool: asyncpg.Pool) -> list[object]:
    """Changes whenever a row of the four tables is written."""
    return [
        await pool.fetch(f"SELECT t.xmin::text, t.* FROM {table} t ORDER BY 3, 2")
        for table in ("phones", "firstnames", "customers", "legacy_customers")
    ]


async def test_a_new_row_becomes_a_customer(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> None:
    event = Attempt(running).read(7, PHONE, firstname="Виктор", lastname="Иванов", email="ving@mail.ru", gender="M")

    await deliver(consumers, pool, event)

    assert await people_of(pool) == {7: (PHONE, "Виктор", "Иванов", "ving@mail.ru", "M", 1)}
    assert await counts(pool) == {"created": 1}


async def test_an_unchanged_row_writes_nothing(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> None:
    first = Attempt(running)
    await deliver(consumers, pool, first.read(7, PHONE, firstname="Виктор"), first.read(8, PHONE), first.rejected(9))
    before = await written(pool)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, firstname="Виктор"), second.read(8, PHONE), second.rejected(9))

    assert await written(pool) == before
    assert await counts(pool) == {"unchanged": 2, "rejected": 1}


async def test_a_changed_row_updates_what_it_changed(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, firstname="Анна", lastname="Иванова"))
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, OTHER, firstname="Анна", lastname="Петрова"))

    assert await people_of(pool) == {7: (OTHER, "Анна", "Петрова", None, None, 2)}
    assert await counts(pool) == {"updated": 1}


async def test_an_unusable_value_leaves_what_was_there(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, email="ving@mail.ru"))
    before = await written(pool)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, unusable={"email": "not_an_address"}))

    assert await written(pool) == before
    assert await counts(pool) == {"unchanged": 1}
    rejection = await pool.fetchrow("SELECT legacy_id, kind, field, reason FROM import_rejections")
    assert tuple(rejection) == (7, "field", "email", "not_an_address")


async def test_names_of_fields_of_a_newer_importer_are_listed_and_the_rest_is_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    read = attempt.read(7, PHONE, lastname="Иванов", unusable={"loyalty_card": "too_long"})
    rejected = msgspec.structs.replace(attempt.rejected(8), reasons={"loyalty_card": "missing"})

    await deliver(consumers, pool, read, rejected)

    assert await people_of(pool) == {7: (PHONE, None, "Иванов", None, None, 1)}
    assert await counts(pool) == {"created": 1, "rejected": 1}
    listed = await pool.fetch("SELECT legacy_id, kind, field, reason FROM import_rejections ORDER BY legacy_id")
    assert listed == [(7, "field", "loyalty_card", "too_long"), (8, "row", "loyalty_card", "missing")]


async def test_a_row_rejected_later_keeps_its_customer(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Иванов"))
    second = await again(pool)

    await deliver(consumers, pool, second.rejected(7))

    assert await people_of(pool) == {7: (PHONE, None, "Иванов", None, None, 1)}
    assert await counts(pool) == {"rejected": 1}


async def test_a_deleted_customers_row_is_skipped(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Иванов"))
    await pool.execute("UPDATE customers SET deleted_at = now()")
    before = await written(pool)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, OTHER, lastname="Петров", unusable={"email": "not_an_address"}))

    assert (await written(pool))[2:] == before[2:]
    assert await counts(pool) == {"skipped": 1}
    assert await pool.fetchval("SELECT count(*) FROM import_rejections") == 0


async def test_a_row_read_earlier_than_its_mirror_is_counted_and_not_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Новый"))
    late = Attempt(running, read_at=READ_AT - timedelta(seconds=1))

    await deliver(consumers, pool, late.read(7, PHONE, lastname="Старый"))

    assert (await people_of(pool))[7][2] == "Новый"
    assert await counts(pool) == {"created": 2}  # each attempt is counted, as the row first ended in this import


async def test_a_range_read_again_counts_its_rows_as_they_first_ended(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    lost, won = Attempt(running), Attempt(running, read_at=READ_AT + timedelta(seconds=9))
    await deliver(consumers, pool, lost.read(7, PHONE, lastname="Иванов"), lost.read(8, OTHER))

    await deliver(consumers, pool, won.read(7, PHONE, lastname="Петров"), won.read(8, OTHER))

    row = await pool.fetchrow("SELECT created, updated, unchanged FROM import_counts WHERE attempt = $1", won.id)
    assert tuple(row) == (2, 0, 0)
    assert (await people_of(pool))[7][2] == "Петров"


async def test_two_events_of_one_row_in_a_batch_are_applied_in_order(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    lost, won = Attempt(running), Attempt(running, read_at=READ_AT + timedelta(seconds=9))

    await deliver(consumers, pool, lost.read(7, PHONE), lost.read(8, OTHER), won.read(7, OTHER), won.read(8, PHONE))

    assert {row: person[0] for row, person in (await people_of(pool)).items()} == {7: OTHER, 8: PHONE}


async def test_of_two_rows_with_one_phone_the_greatest_claimant_owns_it_in_any_order(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    rivals = [
        attempt.read(1, PHONE, last_auth_at=EARLIER),
        attempt.read(2, PHONE, last_auth_at=LATER),
        attempt.read(3, PHONE),
        attempt.read(4, OTHER),
        attempt.read(5, OTHER),
    ]

    await deliver(consumers, pool, rivals[1], rivals[4])
    await deliver(consumers, pool, rivals[0], rivals[2], rivals[3])

    phones = {row: person[0] for row, person in (await people_of(pool)).items()}
    assert phones == {1: None, 2: PHONE, 3: None, 4: None, 5: OTHER}


async def test_a_greater_claimant_takes_the_phone_over(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    await deliver(consumers, pool, attempt.read(1, PHONE, last_auth_at=EARLIER))

    await deliver(consumers, pool, attempt.read(2, PHONE, last_auth_at=LATER))

    phones = {row: (person[0], person[-1]) for row, person in (await people_of(pool)).items()}
    assert phones == {1: (None, 2), 2: (PHONE, 1)}


async def test_a_swap_of_phones_is_one_change_each(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    first = Attempt(running)
    await deliver(consumers, pool, first.read(1, PHONE), first.read(2, OTHER))
    second = await again(pool)

    await deliver(consumers, pool, second.read(1, OTHER), second.read(2, PHONE))

    phones = {row: (person[0], person[-1]) for row, person in (await people_of(pool)).items()}
    assert phones == {1: (OTHER, 2), 2: (PHONE, 2)}


async def test_the_rival_gets_the_phone_that_its_owner_gives_up(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    first = Attempt(running)
    await deliver(consumers, pool, first.read(1, PHONE), first.read(2, PHONE))
    second = await again(pool)

    await deliver(consumers, pool, second.read(2, OTHER))

    phones = {row: (person[0], person[-1]) for row, person in (await people_of(pool)).items()}
    assert phones == {1: (PHONE, 2), 2: (OTHER, 2)}


async def test_events_of_an_import_that_has_ended_or_is_unknown_are_ignored(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await end_import(pool, "failed")
    unknown = Attempt(UUID(int=1))

    await deliver(consumers, pool, Attempt(running).read(7, PHONE), unknown.read(8, OTHER))

    assert await people_of(pool) == {}
    assert await counts(pool) == {}
    assert await pool.fetchval("SELECT next_offset FROM consumed_offsets") == 2


async def test_the_first_of_an_imports_rows_joins_the_customer_with_its_phone_and_fills_the_gaps(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    phone = await pool.fetchval("INSERT INTO phones (code, number) VALUES ('7', '9025163111') RETURNING id")
    mine = await pool.fetchval(
        "INSERT INTO customers (phone_id, phone_from, lastname, version) VALUES ($1, 'api', 'Иванов', 1) RETURNING id",
        phone,
    )

    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Другой", email="ving@mail.ru"))

    assert await people_of(pool) == {7: (PHONE, None, "Иванов", "ving@mail.ru", None, 2)}
    assert await pool.fetchval("SELECT customer_id FROM legacy_customers") == mine


async def test_of_the_new_rows_of_a_batch_the_greatest_claimant_joins_the_customer_with_its_phone(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    async with pool.acquire() as connection:
        mine = (await writes.create(connection, PHONE, {}))["id"]
    attempt = Attempt(running)

    await deliver(
        consumers,
        pool,
        attempt.read(7, PHONE, last_auth_at=READ_AT),
        attempt.read(8, PHONE, last_auth_at=READ_AT + timedelta(days=1)),
        attempt.read(9, PHONE),
    )

    assert await pool.fetchval("SELECT customer_id FROM legacy_customers WHERE legacy_id = 8") == mine
    holder = "SELECT c.id, c.phone_from FROM customers c JOIN phones p ON p.id = c.phone_id WHERE p.digits = $1"
    assert await pool.fetch(holder, PHONE) == [(mine, "import")]


async def test_each_field_that_the_api_wrote_stays_unless_the_legacy_side_changed_that_very_one(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    theirs = {"firstname": "Виктор", "lastname": "Иванов", "email": "a@example.com", "gender": "M", "city_id": 1}
    ours = {"firstname": "Анна", "lastname": "Ким", "email": "b@example.com", "gender": "F", "city_id": 2}
    now = {"firstname": "Олег", "lastname": None, "email": "c@example.com", "gender": None, "city_id": 3}
    phones = {name: f"7902516311{number}" for number, name in enumerate(theirs)}
    first = Attempt(running)
    await deliver(consumers, pool, *(first.read(n, phone, **theirs) for n, phone in enumerate(phones.values())))
    async with pool.acquire() as connection:
        for row in await pool.fetch("SELECT customer_id FROM legacy_customers"):
            await writes.update(connection, row["customer_id"], ours)

    second = await again(pool)
    changed = [
        second.read(number, phone, **{**theirs, name: now[name]}) for number, (name, phone) in enumerate(phones.items())
    ]
    await deliver(consumers, pool, *changed)

    async with pool.acquire() as connection:
        owners = dict(await pool.fetch("SELECT legacy_id, customer_id FROM legacy_customers"))
        found = {name: await queries.get(connection, owners[number]) for number, name in enumerate(phones)}
    assert {name: {field: person[field] for field in ours} for name, person in found.items()} == {
        name: {**ours, name: now[name]} for name in phones
    }


async def as_the_old_rules_left_it(pool: asyncpg.Pool) -> None:
    """Mirrored before hand-outs had numbers."""
    await pool.execute("UPDATE legacy_customers SET number = NULL")


async def test_a_change_is_taken_though_the_clock_of_vaptekesync_was_a_day_ahead(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    ahead = Attempt(running, read_at=READ_AT + timedelta(days=1))
    await deliver(consumers, pool, ahead.read(7, PHONE, lastname="Старый"))
    await end_import(pool)
    right = Attempt(await start_import(pool), read_at=READ_AT)

    await deliver(consumers, pool, right.read(7, OTHER, lastname="Новый"))

    assert (await people_of(pool))[7][:3] == (OTHER, None, "Новый")
    assert (await counts(pool))["updated"] == 1


async def test_any_numbered_reading_is_later_than_a_mirror_without_a_number(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running, read_at=LATER).read(7, PHONE))
    await as_the_old_rules_left_it(pool)
    await end_import(pool)
    next_one = Attempt(await start_import(pool), read_at=EARLIER)

    await deliver(consumers, pool, next_one.read(7, OTHER))

    assert (await people_of(pool))[7][0] == OTHER


async def test_an_older_reading_that_comes_after_an_unchanged_one_is_not_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Новый"))
    second = await again(pool)
    lost = Attempt(second.import_id, read_at=second.read_at - timedelta(seconds=9))
    await deliver(consumers, pool, second.read(7, PHONE, lastname="Новый"))

    await deliver(consumers, pool, lost.read(7, OTHER, lastname="Между"))

    assert await people_of(pool) == {7: (PHONE, None, "Новый", None, None, 1)}
    assert await counts(pool) == {"unchanged": 2}


FUTURE = datetime(2099, 1, 1, tzinfo=UTC)


async def last_auths(pool: asyncpg.Pool) -> tuple[datetime | None, datetime | None]:
    """The mirror's and the customer's."""
    row = await pool.fetchrow(
        "SELECT m.last_auth_at, c.last_auth_at FROM legacy_customers m JOIN customers c ON c.id = m.customer_id"
    )
    return tuple(row)


async def test_a_last_sign_in_in_the_future_gives_way_to_its_correction(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE))
    await pool.execute("UPDATE legacy_customers SET last_auth_at = $1", FUTURE)
    await pool.execute("UPDATE customers SET last_auth_at = $1", FUTURE)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, last_auth_at=LATER))

    assert await last_auths(pool) == (LATER, LATER)


@pytest.mark.parametrize("stored", [FUTURE, datetime(1900, 1, 1, tzinfo=UTC)], ids=["future", "placeholder"])
async def test_a_last_sign_in_that_would_be_unusable_today_goes_when_it_is(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, stored: datetime
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE))
    await pool.execute("UPDATE legacy_customers SET last_auth_at = $1", stored)
    await pool.execute("UPDATE customers SET last_auth_at = $1", stored)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, unusable={"last_auth_at": "unusable_now"}))

    assert await last_auths(pool) == (None, None)


async def test_a_customers_last_sign_in_in_the_future_goes_though_its_row_is_unchanged(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, last_auth_at=EARLIER))
    await pool.execute("UPDATE customers SET last_auth_at = $1", FUTURE)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, last_auth_at=EARLIER))

    assert await last_auths(pool) == (EARLIER, EARLIER)
    assert (await counts(pool))["updated"] == 1


async def test_on_the_first_link_the_last_sign_in_is_the_later_of_both(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    rows = {7: (EARLIER, LATER), 8: (LATER, EARLIER), 9: (FUTURE, EARLIER), 10: (EARLIER, FUTURE), 11: (None, LATER)}
    async with pool.acquire() as connection:
        for key, (ours, _) in rows.items():
            await writes.create(connection, f"7902516{key:04}", {"last_auth_at": ours})

    await deliver(
        consumers,
        pool,
        *(Attempt(running).read(key, f"7902516{key:04}", last_auth_at=theirs) for key, (_, theirs) in rows.items()),
    )

    linked = await pool.fetch(
        "SELECT legacy_id, c.last_auth_at FROM legacy_customers m JOIN customers c ON c.id = m.customer_id"
    )
    assert dict(linked) == {7: LATER, 8: LATER, 9: EARLIER, 10: EARLIER, 11: LATER}


NO_BIRTHDAY = date(1900, 1, 1)


@pytest.mark.parametrize(
    ("ours", "healed"), [(NO_BIRTHDAY, None), (date(1980, 5, 6), date(1980, 5, 6))], ids=["copied", "from_the_api"]
)
async def test_a_birthday_of_1900_goes_when_it_is_unusable_but_not_what_the_api_wrote_since(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, ours: date, healed: date | None
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, birthday=NO_BIRTHDAY))
    await pool.execute("UPDATE customers SET birthday = $1", ours)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, unusable={"birthday": "not_a_birthday"}))

    assert await pool.fetchval("SELECT birthday FROM legacy_customers") is None
    assert await pool.fetchval("SELECT birthday FROM customers") == healed


@pytest.mark.parametrize(("api", "healed"), [(None, "Андрей"), ("Анна", "Анна")])
@pytest.mark.parametrize(
    "kept_before", [normalize("NFD", "Андрей"), "Андрей\u200b", "\u200fАнд\u00adрей", "Андрей\u2028"]
)
async def test_a_text_that_is_read_otherwise_now_is_mended_but_not_what_the_api_wrote_since(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, kept_before: str, api: str | None, healed: str
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, firstname=kept_before, lastname=kept_before))
    if api:
        async with pool.acquire() as connection:
            await writes.update(connection, 1, {"firstname": api, "lastname": api})
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, firstname="Андрей", lastname="Андрей"))

    assert (await people_of(pool))[7][1:3] == (healed, healed)
    assert await pool.fetchval("SELECT lastname FROM legacy_customers") == "Андрей"


@pytest.mark.parametrize(("api", "healed"), [(None, "ivan@почта.рф"), ("ivan@example.com", "ivan@example.com")])
async def test_an_address_that_is_read_otherwise_now_is_mended_but_not_what_the_api_wrote_since(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, api: str | None, healed: str
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, email="ivan@xn--80a1acny.xn--p1ai"))
    if api:
        async with pool.acquire() as connection:
            await writes.update(connection, 1, {"email": api})
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, email="ivan@почта.рф"))

    assert (await people_of(pool))[7][3] == healed


async def test_a_text_that_vaptekesync_has_changed_is_taken_though_the_mirror_was_read_otherwise(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE, lastname="Иванова\u200b"))
    async with pool.acquire() as connection:
        await writes.update(connection, 1, {"lastname": "Сидорова"})
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE, lastname="Петрова"))

    assert (await people_of(pool))[7][2] == "Петрова"


WRONG = "234562234567"  # what the rules of old made of two numbers in one text


async def test_a_phone_that_is_read_as_another_number_now_moves(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, WRONG))
    await as_the_old_rules_left_it(pool)
    second = await again(pool)

    await deliver(consumers, pool, second.read(7, PHONE))

    assert await people_of(pool) == {7: (PHONE, None, None, None, None, 2)}


async def test_a_number_that_only_the_rules_of_old_saw_in_a_text_goes_when_its_row_is_rejected(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, WRONG, lastname="Иванов"), Attempt(running).read(8, WRONG))
    await as_the_old_rules_left_it(pool)
    second = await again(pool)

    await deliver(consumers, pool, second.rejected(8, "two_numbers"), second.rejected(7, "two_numbers"))

    people = await people_of(pool)
    assert [people[key][0] for key in (7, 8)] == [None, None]
    assert people[7][2] == "Иванов"
    assert await counts(pool) == {"rejected": 2}


async def test_a_number_that_todays_rule_does_not_take_goes_when_its_row_is_rejected(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, PHONE), Attempt(running).read(8, OTHER))
    await pool.execute("UPDATE phones SET number = '495555000612' WHERE digits = $1", PHONE)
    second = await again(pool)

    await deliver(consumers, pool, second.rejected(7, "too_long"), second.rejected(8, "too_long"))

    people = await people_of(pool)
    assert [people[key][0] for key in (7, 8)] == [None, OTHER]


async def test_a_wrong_number_of_old_that_the_api_gave_stays_the_apis(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    await deliver(consumers, pool, Attempt(running).read(7, WRONG))
    await as_the_old_rules_left_it(pool)
    async with pool.acquire() as connection:
        await writes.change_phone(connection, 1, OTHER)
    second = await again(pool)

    await deliver(consumers, pool, second.rejected(7, "two_numbers"))

    assert (await people_of(pool))[7][0] == OTHER
