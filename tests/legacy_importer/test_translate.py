"""Translating a legacy row into an event, for every value that a driver may return."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_importer import translate, values
from legacy_importer.settings import Genders
from legacy_importer.translate import Context, LegacyRow, UnreadableRow
from legacy_importer.values import Unusable
from vapteke_local import people
from vapteke_local.people import Expected
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract.events import codec, legacy_customers
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

READ_AT = datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)
"""By a foreign clock, which decides nothing about a value."""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GENDERS = Genders()
CONTEXT = Context(
    import_id=UUID(int=1),
    chunk=3,
    attempt=UUID(int=2),
    read_at=READ_AT,
    zone=ZoneInfo("UTC"),
    genders=translate.spellings({"M": GENDERS.M, "F": GENDERS.F}),
    now=NOW,
)
ZONES = ("UTC", "Europe/Moscow", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu")
PERSONS_FIELDS = {"first_name": "firstname", "last_name": "lastname"}
REASONS = {
    "missing",
    "not_digits",
    "two_numbers",
    "not_ten_digits_after_7",
    "too_short",
    "too_long",
    "no_country_code",
    "has_a_zero_character",
    "has_half_a_character",
    "not_an_address",
    "not_a_date",
    "in_the_future",
    "before_1900",
    "placeholder_date",
    "not_whole",
    "unknown",
    "not_a_number",
    "negative",
    "too_big",
    "out_of_range",
}
SECRET = "тайна"
COLUMNS = (
    "legacy_id bigint",
    "firstname text",
    "lastname text",
    "email text",
    "birthday date",
    "gender text",
    "city_id bigint CHECK (city_id >= 0)",
    "last_auth_at timestamptz CHECK (isfinite(last_auth_at))",
)

any_text = st.text(st.characters()) | st.text(st.sampled_from("аZ \0\ud800\udfff\u2028@.\n"), max_size=300)
aware = st.timezones() | st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))])
dates = st.dates() | st.sampled_from([date.min, date.max])
instants = (
    st.datetimes(timezones=st.none() | aware, allow_imaginary=True)
    | st.sampled_from([datetime.min, datetime.max])
    | st.builds(lambda moment, zone: moment.replace(tzinfo=zone), st.sampled_from([datetime.min, datetime.max]), aware)
)
numbers = st.integers() | st.sampled_from([-1, 0, 2**63 - 1, 2**63]) | st.booleans() | st.floats() | st.decimals()
phones = st.text("0123456789 +-()", max_size=20) | any_text | st.just("89025163111")
near_emails = st.from_regex(r"[a-zA-Zа-я0-9_+.-]{1,20}@[a-zа-я0-9.-]{1,20}\.[a-z]{2,8}", fullmatch=True)
emails = st.emails() | any_text | near_emails
rows = st.builds(
    LegacyRow,
    id=st.integers(-(2**63), 2**63 - 1),
    phone=st.none() | phones | numbers,
    firstname=st.none() | any_text,
    lastname=st.none() | any_text,
    email=st.none() | emails,
    birthday=st.none() | dates | instants | any_text | numbers | st.binary(),
    gender=st.none() | any_text | numbers | st.sampled_from(GENDERS.M + GENDERS.F),
    city_id=st.none() | numbers | any_text,
    last_auth_at=st.none() | dates | instants | any_text | numbers | st.binary(),
)


def row(**changed: Any) -> LegacyRow:
    usable = LegacyRow(7, "89025163111", None, None, None, None, None, None, None)
    return usable._replace(**changed)


def read(**changed: object) -> LegacyCustomerRead:
    event = translate.to_event(row(**changed), CONTEXT)
    assert isinstance(event, LegacyCustomerRead)
    return event


def reasons_of(event: LegacyCustomerRead | LegacyCustomerRejected) -> dict[legacy_customers.Field, str]:
    return event.reasons if isinstance(event, LegacyCustomerRejected) else event.unusable or {}


def test_the_page_for_frontend_developers_has_every_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()

    assert [reason for reason in sorted(REASONS | {"unreadable"}) if f"`{reason}`" not in page] == []


def moment(text: str | datetime, zone: str) -> datetime:
    return values.instant(text if isinstance(text, datetime) else datetime.fromisoformat(text), ZoneInfo(zone))


@given(rows, st.sampled_from(ZONES))
@settings(max_examples=1500, deadline=None)
def test_any_row_becomes_an_event_that_the_contract_takes(any_row: LegacyRow, zone: str) -> None:
    event = translate.to_event(any_row, replace(CONTEXT, zone=ZoneInfo(zone)))

    encoded = codec.encode(event)

    assert codec.decode(encoded, [("ce_type", event.type.encode())]) == event
    assert b"\\u0000" not in encoded
    assert set(reasons_of(event).values()) <= REASONS


@given(st.lists(rows | st.builds(UnreadableRow, st.integers(0, 9)), max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_page_of_rows_becomes_the_events_of_its_rows(page: list[LegacyRow | UnreadableRow]) -> None:
    assert translate.to_events(page, CONTEXT) == [translate.to_event(row, CONTEXT) for row in page]


@given(st.lists(rows, min_size=50, max_size=50))
@settings(max_examples=15, deadline=None)
def test_a_field_is_null_and_named_or_holds_the_value(some: list[LegacyRow]) -> None:
    for any_row in some:
        event = translate.to_event(any_row, CONTEXT)

        if isinstance(event, LegacyCustomerRead):
            assert all(getattr(event, field) is None for field in event.unusable or {})
            assert all(getattr(any_row, field) is not None for field in event.unusable or {})


async def test_postgres_takes_every_event(postgres_server: Postgres) -> None:
    made: list[LegacyCustomerRead] = []

    @given(rows.map(lambda any_row: any_row._replace(phone="89025163111")), st.sampled_from(ZONES))
    @settings(max_examples=300, deadline=None, database=None)
    def make(any_row: LegacyRow, zone: str) -> None:
        event = translate.to_event(any_row, replace(CONTEXT, zone=ZoneInfo(zone)))
        assert isinstance(event, LegacyCustomerRead)
        made.append(event)

    make()
    sent = [tuple(getattr(event, column.split()[0]) for column in COLUMNS) for event in made]
    connection = await asyncpg.connect(postgres_server.dsn)
    try:
        await connection.execute(f"CREATE TEMP TABLE taken ({', '.join(COLUMNS)})")
        await connection.copy_records_to_table("taken", records=sent)
        taken = await connection.fetch("SELECT * FROM taken")
    finally:
        await connection.close()

    assert [tuple(one) for one in taken] == sent


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_no_reason_tells_a_value(text: str) -> None:
    unusable = f"{SECRET}\0{text}{SECRET}"

    event = translate.to_event(
        row(firstname=unusable, email=unusable, birthday=unusable, gender=unusable, last_auth_at=unusable), CONTEXT
    )
    rejected = translate.to_event(row(phone=unusable), CONTEXT)

    assert set(reasons_of(event)) == {"firstname", "email", "birthday", "gender", "last_auth_at"}
    assert SECRET.encode() not in codec.encode(event)
    assert SECRET.encode() not in codec.encode(rejected)


def test_a_full_row_is_normalised() -> None:
    event = translate.to_event(
        LegacyRow(
            -5,
            " +7 (902) 516-31-11 ",
            " Виктор ",
            "Ёлкин",
            " V@Example.COM ",
            datetime(1990, 5, 17, 23, 59),
            " МУЖ. ",
            0,
            datetime(2023, 12, 21, 4, 20, 37, 24_999),
        ),
        CONTEXT,
    )

    assert event == LegacyCustomerRead(
        import_id=CONTEXT.import_id,
        chunk=3,
        attempt=CONTEXT.attempt,
        legacy_id=-5,
        read_at=READ_AT,
        phone="79025163111",
        firstname="Виктор",
        lastname="Ёлкин",
        email="V@example.com",
        birthday=date(1990, 5, 17),
        gender="M",
        city_id=0,
        last_auth_at=datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("phone", "reason"), [(None, "missing"), ("", "missing"), ("нет", "not_digits"), ("516-31-11", "too_short")]
)
def test_a_row_without_a_usable_phone_is_rejected(phone: str | None, reason: str) -> None:
    assert translate.to_event(row(phone=phone, email="no address"), CONTEXT) == LegacyCustomerRejected(
        import_id=CONTEXT.import_id,
        chunk=3,
        attempt=CONTEXT.attempt,
        legacy_id=7,
        read_at=READ_AT,
        reasons={"phone": reason},
    )


@pytest.mark.parametrize(
    ("value", "phone"),
    [
        (79025163111, "79025163111"),
        (9025163111, "79025163111"),
        (89025163111, "79025163111"),
        (Decimal("79025163111.00"), "79025163111"),
        (Decimal("375291234567"), "375291234567"),
        (79025163111.0, "79025163111"),
    ],
)
def test_a_phone_is_read_from_a_column_of_numbers(value: object, phone: str) -> None:
    assert read(phone=value).phone == phone


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Decimal("79025163111.50"), "not_whole"),
        (375291234567.5, "not_whole"),
        (-79025163111, "negative"),
        (0, "too_short"),
        (1e300, "too_big"),
        (7902516311100, "not_ten_digits_after_7"),
        (True, "not_a_number"),
    ],
)
def test_a_number_that_is_no_phone_has_a_reason(value: object, reason: str) -> None:
    assert reasons_of(translate.to_event(row(phone=value), CONTEXT)) == {"phone": reason}


@pytest.mark.parametrize(("value", "letter"), [(1, "M"), (2, "F"), (Decimal("2.00"), "F"), (1.0, "M"), (True, "M")])
def test_gender_is_read_from_a_column_of_numbers(value: object, letter: str) -> None:
    assert read(gender=value).gender == letter


def test_a_row_that_cannot_be_selected_is_rejected_as_unreadable() -> None:
    assert translate.to_event(UnreadableRow(7), CONTEXT) == LegacyCustomerRejected(
        import_id=CONTEXT.import_id,
        chunk=3,
        attempt=CONTEXT.attempt,
        legacy_id=7,
        read_at=READ_AT,
        reasons={"row": "unreadable"},
    )


@pytest.mark.parametrize(
    ("zone", "usable"), [("Europe/Moscow", date(2026, 1, 2)), ("Pacific/Kiritimati", date(2026, 1, 2))]
)
def test_today_is_that_of_the_legacy_servers_zone(zone: str, usable: date) -> None:
    late = replace(CONTEXT, zone=ZoneInfo(zone), now=datetime(2026, 1, 1, 22, tzinfo=UTC))

    event = translate.to_event(row(birthday=usable), late)

    assert reasons_of(event) == {}


@pytest.mark.parametrize("field", ["firstname", "lastname"])
def test_names_are_kept_in_form_nfc_and_measured_so(field: str) -> None:
    assert getattr(read(**{field: "Андре\u0438\u0306"}), field) == "Андрей"
    assert getattr(read(**{field: "\u0438\u0306" * 100}), field) == "й" * 100


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\x01", "\x9b"])
def test_what_nobody_sees_is_removed_and_lists_nothing(hidden: str) -> None:
    event = read(firstname=f"Ан{hidden}на", lastname=f"Ива{hidden}нова{hidden}", email=f"anna{hidden}@example.com")

    assert (event.firstname, event.lastname, event.email) == ("Анна", "Иванова", "anna@example.com")
    assert event.unusable is None


def test_a_line_break_in_a_name_is_a_blank() -> None:
    assert read(firstname="Анна\r\nМария").firstname == "Анна  Мария"


def test_an_email_is_kept_in_form_nfc_with_its_domain_in_its_own_letters() -> None:
    assert read(email="ivan@xn--80a1acny.xn--p1ai").email == "ivan@почта.рф"
    assert read(email="ivan@ПОЧТА.РФ").email == "ivan@почта.рф"
    assert read(email="\u0438\u0306@example.com").email == "й@example.com"


def test_a_gender_is_understood_in_any_form_of_unicode() -> None:
    assert read(gender="мужско\u0438\u0306").gender == "M"


@pytest.mark.parametrize("field", ["firstname", "lastname", "email", "birthday", "gender", "last_auth_at"])
@pytest.mark.parametrize("empty", [None, "", "  ", "\t\n\u00a0"])
def test_what_is_empty_is_null_and_not_unusable(field: str, empty: str | None) -> None:
    assert read(**{field: empty}) == read()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("firstname", "я" * 101, "too_long"),
        ("lastname", "a\0b", "has_a_zero_character"),
        ("lastname", "a\ud83d", "has_half_a_character"),
        ("email", "a\udc00@example.com", "has_half_a_character"),
        ("email", "a" * 243 + "@example.com", "too_long"),
        ("email", "a@b@example.com", "not_an_address"),
        ("email", "a@localhost", "not_an_address"),
        ("email", "a@shop.invalid", "not_an_address"),
        ("birthday", date(2026, 1, 3), "in_the_future"),
        ("birthday", date(1899, 12, 31), "before_1900"),
        ("birthday", date(1900, 1, 1), "placeholder_date"),
        ("birthday", datetime(1900, 1, 1), "placeholder_date"),
        ("birthday", datetime(1900, 1, 1, 0, 0, 0, 3000), "placeholder_date"),
        ("birthday", "1900-01-01", "placeholder_date"),
        ("birthday", "1900-01-01T00:00:00", "placeholder_date"),
        ("birthday", date(1753, 1, 1), "placeholder_date"),
        ("birthday", date(1, 1, 1), "placeholder_date"),
        ("birthday", date(1899, 12, 30), "placeholder_date"),
        ("birthday", "17.05.1990", "not_a_date"),
        ("birthday", 19900517, "not_a_date"),
        ("gender", "?", "unknown"),
        ("gender", "м\0", "unknown"),
        ("city_id", -1, "negative"),
        ("city_id", 2**63, "too_big"),
        ("city_id", True, "not_a_number"),
        ("city_id", "77", "not_a_number"),
        ("city_id", Decimal("77.5"), "not_whole"),
        ("city_id", Decimal("77.0001"), "not_whole"),
        ("city_id", 77.5, "not_whole"),
        ("city_id", float("nan"), "not_a_number"),
        ("city_id", Decimal("NaN"), "not_a_number"),
        ("city_id", 1e300, "too_big"),
        ("city_id", Decimal("1E+999999"), "too_big"),
        ("city_id", float("inf"), "not_a_number"),
        ("city_id", Decimal("sNaN"), "not_a_number"),
        ("city_id", -1.0, "negative"),
        ("gender", 1.5, "not_whole"),
        ("gender", 3, "unknown"),
        ("last_auth_at", datetime(2026, 1, 2, 3, 10, 6), "in_the_future"),
        ("last_auth_at", datetime(2099, 1, 1), "in_the_future"),
        ("last_auth_at", "2026-01-02T06:10:06+03:00", "in_the_future"),
        ("last_auth_at", datetime(1900, 1, 1), "placeholder_date"),
        ("last_auth_at", datetime(1900, 1, 1, 12, 30), "placeholder_date"),
        ("last_auth_at", date(1900, 1, 1), "placeholder_date"),
        ("last_auth_at", "1900-01-01 00:00:00.000", "placeholder_date"),
        ("last_auth_at", datetime(1753, 1, 1), "placeholder_date"),
        ("last_auth_at", datetime(1899, 12, 30), "placeholder_date"),
        ("last_auth_at", datetime.min, "out_of_range"),
        ("last_auth_at", datetime.max, "out_of_range"),
        ("last_auth_at", "вчера", "not_a_date"),
        ("last_auth_at", b"\0" * 8, "not_a_date"),
    ],
)
def test_an_unusable_value_is_null_and_named(field: str, value: object, reason: str) -> None:
    event = read(**{field: value})

    assert getattr(event, field) is None
    assert event.unusable == {field: reason}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("firstname", "я" * 100),
        ("email", "a@example.com"),
        ("birthday", date(1900, 1, 2)),
        ("birthday", date(2026, 1, 2)),
        ("city_id", 2**63 - 1),
        ("city_id", Decimal("77.0000")),
        ("city_id", Decimal("7.7E+1")),
        ("city_id", 77.0),
        ("city_id", -0.0),
        ("last_auth_at", datetime(2026, 1, 2, 3, 9, 5, tzinfo=UTC)),
        ("last_auth_at", datetime(1900, 1, 2, tzinfo=UTC)),
    ],
)
def test_the_last_usable_value_is_kept(field: str, value: object) -> None:
    event = read(**{field: value})

    assert getattr(event, field) == value
    assert event.unusable is None


@pytest.mark.parametrize(
    ("local", "zone", "utc"),
    [
        ("2023-12-21T04:20:37.024", "UTC", "2023-12-21T04:20:37.024+00:00"),
        ("2023-12-21T04:20:37", "Europe/Moscow", "2023-12-21T01:20:37+00:00"),
        ("2014-10-25T12:00:00", "Europe/Moscow", "2014-10-25T08:00:00+00:00"),
        ("2014-10-26T12:00:00", "Europe/Moscow", "2014-10-26T09:00:00+00:00"),
        ("2010-07-01T12:00:00", "Europe/Moscow", "2010-07-01T08:00:00+00:00"),
        ("2010-01-01T12:00:00", "Europe/Moscow", "2010-01-01T09:00:00+00:00"),
        ("2024-07-01T12:00:00", "America/New_York", "2024-07-01T16:00:00+00:00"),
        ("2024-01-01T12:00:00", "America/New_York", "2024-01-01T17:00:00+00:00"),
        ("2024-03-10T02:30:00", "America/New_York", "2024-03-10T07:30:00+00:00"),
        ("2024-11-03T01:30:00", "America/New_York", "2024-11-03T05:30:00+00:00"),
        ("2024-01-01T12:00:00+05:00", "America/New_York", "2024-01-01T07:00:00+00:00"),
        ("2024-01-01", "Europe/Moscow", "2023-12-31T21:00:00+00:00"),
    ],
)
def test_the_legacy_servers_local_time_becomes_utc(local: str, zone: str, utc: str) -> None:
    made = moment(local, zone)

    assert made == datetime.fromisoformat(utc)
    assert made.tzinfo is UTC


def test_a_date_alone_is_its_midnight() -> None:
    assert values.instant(date(2024, 1, 1), ZoneInfo("Europe/Moscow")) == datetime(2023, 12, 31, 21, tzinfo=UTC)


class OtherDate(date):
    """Equal to a date, but not of its type: so no shortcut takes it."""


@given(st.dates() | st.dates(date(1899, 1, 1), date(1901, 1, 1)) | st.dates(date(2025, 12, 30), date(2026, 1, 4)))
def test_the_shortcut_for_birthdays_agrees_with_the_whole_rule(day: date) -> None:
    assert translate.to_event(row(birthday=day), CONTEXT) == translate.to_event(
        row(birthday=OtherDate(day.year, day.month, day.day)), CONTEXT
    )


@given(
    st.datetimes(min_value=datetime(2, 1, 2), max_value=datetime(9998, 12, 30), allow_imaginary=True),
    st.sampled_from(ZONES) | st.timezone_keys(),
    st.sampled_from([0, 1]),
)
def test_local_time_becomes_utc_as_astimezone_converts_it(local: datetime, zone: str, fold: int) -> None:
    local = local.replace(microsecond=0, fold=fold)

    assert moment(local, zone) == local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@given(st.datetimes(min_value=datetime(2, 1, 2), max_value=datetime(9998, 12, 30)), st.sampled_from(ZONES))
def test_an_instant_is_cut_to_the_millisecond(local: datetime, zone: str) -> None:
    made = moment(local, zone)

    assert made.microsecond == local.microsecond // 1000 * 1000


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))
def test_no_zone_but_utc_shifts_nothing(local: datetime) -> None:
    made = moment(local, "UTC")

    assert made == (local.replace(microsecond=local.microsecond // 1000 * 1000)).replace(tzinfo=UTC)


def judged(text: str) -> str | None:
    """The judge itself, without the short cut."""
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        return None


label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
tops = ["com", "ru", "example", "test", "local", "localhost", "invalid", "arpa", "onion", "c0m", "x", "xn--p1ai"]
likely_emails = st.builds(
    lambda local, labels, top: f"{local}@{'.'.join([*labels, top])}",
    st.from_regex(r"[A-Za-z0-9_+.-]{1,12}", fullmatch=True) | st.from_regex(r"[a-z.]{50,70}", fullmatch=True),
    st.lists(label | st.sampled_from(["xn--e1afmkfd", "xn--a", "ab--c", "0"]), max_size=3),
    st.sampled_from(tops) | st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True),
)


@given(st.emails() | likely_emails)
@settings(max_examples=800, deadline=None)
def test_an_email_is_judged_as_email_validator_judges_it(text: str) -> None:
    try:
        made = translate.email(text, CONTEXT)
    except Unusable:
        made = None

    assert made == judged(text.strip())


def verdict_of(event: LegacyCustomerRead | LegacyCustomerRejected) -> tuple[str, str | None, set[str]]:
    if isinstance(event, LegacyCustomerRejected):
        return "rejected", None, set()
    return "created", event.phone, set(event.unusable or {})


def expected_of(label: Expected) -> tuple[str, str | None, set[str]]:
    unusable = {PERSONS_FIELDS.get(field, field) for field in label.unusable}
    return label.verdict, label.phone, unusable if label.verdict == "created" else set()


def test_made_up_people_get_the_verdict_that_they_were_made_for() -> None:
    labelled = list(people.labelled(seed=11, count=20_000))

    made = [verdict_of(translate.to_event(LegacyRow(*person), CONTEXT)) for person, _ in labelled]

    assert made == [expected_of(label) for _, label in labelled]
    assert {verdict for verdict, *_ in made} == {"created", "rejected"}
