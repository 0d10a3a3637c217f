"""The event contract: what goes in comes out, and rubbish is an EventInvalid that tells no values."""

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vapteke_shared.contract import limits
from vapteke_shared.contract.events import codec, imports, legacy_customers
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

IMPORT, ATTEMPT = UUID(int=1), UUID(int=2)
SECRET = "тайна"
KINDS = (*imports.TASKS, *imports.PROGRESS, *legacy_customers.LEGACY_CUSTOMERS)

int64 = st.integers(-(2**63), 2**63 - 1)
count = st.integers(0, 2**63 - 1)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=100)
reasons = st.from_regex(r"[a-z0-9_]{1,60}", fullmatch=True)
fields = st.sampled_from(["phone", "firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at"])
instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=3))]))
chunks = st.integers(0, 2**31 - 1)
row = {"import_id": st.uuids(), "chunk": chunks, "attempt": st.uuids(), "legacy_id": int64, "read_at": instants}

any_event: st.SearchStrategy[Event] = st.one_of(
    st.builds(imports.PlanRequested, import_id=st.uuids(), rows_per_range=st.integers(1, 2**31 - 1)),
    st.builds(imports.RangeRequested, import_id=st.uuids(), chunk=chunks, after_id=st.none() | int64, upto_id=int64),
    st.builds(
        imports.RowsRequested,
        import_id=st.uuids(),
        chunk=chunks,
        legacy_ids=st.lists(int64, min_size=1, max_size=limits.ROWS_PER_TASK),
    ),
    st.builds(imports.PlanStarted, import_id=st.uuids()),
    st.builds(imports.Planned, import_id=st.uuids(), row_count=count, upper_bounds=st.lists(int64)),
    st.builds(
        imports.RangePublished,
        import_id=st.uuids(),
        chunk=chunks,
        attempt=st.uuids(),
        event_count=count,
        last_offsets=st.dictionaries(st.integers(0, 2**31 - 1), count),
    ),
    st.builds(
        imports.AttemptFailed,
        import_id=st.uuids(),
        chunk=st.none() | chunks,
        attempt=st.integers(1, 9),
        attempts=st.integers(1, 9),
        retry_seconds=st.floats(0, 900),
        error=names,
    ),
    st.builds(imports.Failed, import_id=st.uuids(), chunk=st.none() | chunks, error=names),
    st.builds(LegacyCustomerRejected, **row, reasons=st.dictionaries(fields, reasons, min_size=1)),
    st.builds(
        LegacyCustomerRead,
        **row,
        phone=st.text("0123456789", min_size=10, max_size=14).map(lambda rest: "7" + rest),
        firstname=st.none() | names,
        lastname=st.none() | names,
        email=st.none() | st.text(st.characters(codec="ascii"), min_size=3, max_size=254),
        birthday=st.none() | st.dates(),
        gender=st.sampled_from([None, "M", "F"]),
        city_id=st.none() | count,
        last_auth_at=st.none() | instants,
        unusable=st.none() | st.dictionaries(fields, reasons),
    ),
)


def of_type(kind: str) -> codec.Headers:
    return [("ce_type", kind.encode())]


def read(**changed: object) -> bytes:
    """A legacy customer's JSON, with fields put in as they are."""
    whole = LegacyCustomerRead(
        import_id=IMPORT,
        chunk=0,
        attempt=ATTEMPT,
        legacy_id=1,
        read_at=datetime(2026, 1, 2, tzinfo=UTC),
        phone="79025163111",
    )
    return msgspec.json.encode(msgspec.to_builtins(whole) | changed)


def fault_of(value: bytes | None, kind: str = LegacyCustomerRead.type) -> str:
    with pytest.raises(EventInvalid) as invalid:
        codec.decode(value, of_type(kind))
    return str(invalid.value)


@given(any_event)
def test_an_event_survives_its_encoding(event: Event) -> None:
    headers = codec.headers(event, "a-service", "a-subject")

    assert codec.decode(codec.encode(event), headers) == event


def test_the_headers_are_cloud_events() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    headers = dict(codec.headers(imports.PlanStarted(import_id=IMPORT), "legacy-importer", "subject", at))

    assert UUID(hex=headers.pop("ce_id").decode()).version == 4
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_type": b"vapteke.import.plan_started",
        "ce_source": b"legacy-importer",
        "ce_time": b"2026-01-02T03:04:05+00:00",
        "ce_subject": b"subject",
        "content-type": b"application/json",
    }


def test_no_two_events_have_one_type_or_one_id() -> None:
    made = [codec.headers(imports.PlanStarted(import_id=IMPORT), "s", "s") for _ in range(100)]

    assert len({kind.type for kind in KINDS}) == len(KINDS)
    assert len({dict(headers)["ce_id"] for headers in made}) == 100


@pytest.mark.parametrize("headers", [[], [("ce_type", None)], [("ce_type", b"\xff")], [("other", b"x")]])
def test_a_record_of_no_known_type_is_invalid(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(EventInvalid, match=r"^unknown event type$"):
        codec.decode(read(), headers)


def test_a_record_without_a_value_is_invalid() -> None:
    assert fault_of(None) == "no value"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"  ",
        b"\xff\xfe",
        b"{",
        read() + b"}",
        read(firstname="?").replace(b"?", b"\xff"),
        read(firstname="?").replace(b"?", b"\\ud800"),
        b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
    ids=["empty", "blank", "binary", "cut", "more", "no UTF-8", "half a character", "very deep"],
)
def test_malformed_json_is_invalid(value: bytes) -> None:
    assert fault_of(value) == "malformed JSON"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("import_id", "not-a-uuid"),
        ("chunk", -1),
        ("chunk", 2**31),
        ("attempt", None),
        ("legacy_id", "1"),
        ("legacy_id", 1.5),
        ("legacy_id", -(2**63) - 1),
        ("read_at", "2026-01-02T03:04:05"),
        ("read_at", 5),
        ("phone", "7902516311"),
        ("phone", "7902516311100000"),
        ("phone", "79025163111\n"),
        ("phone", "٧٩٠٢٥١٦٣١١١"),
        ("phone", "00000000000"),
        ("phone", None),
        ("firstname", ""),
        ("lastname", "я" * 101),
        ("email", "a" * 255),
        ("email", "ab"),
        ("birthday", "2026-02-30"),
        ("gender", "X"),
        ("city_id", -1),
        ("city_id", True),
        ("last_auth_at", "2026-01-02"),
        ("unusable", {"phone": "Not A Word"}),
        ("unusable", {"phone": "word\n"}),
        ("unusable", {"Password": "word"}),
        ("unusable", {"pass word": "word"}),
        ("unusable", {"password\n": "word"}),
        ("unusable", {"": "word"}),
        ("unusable", {"a" * 61: "word"}),
    ],
)
def test_a_value_of_the_wrong_type_is_invalid_and_its_field_is_named(field: str, value: object) -> None:
    assert f"`$.{field}" in fault_of(read(**{field: value}))


def test_a_missing_field_is_named() -> None:
    without = msgspec.json.decode(read())
    del without["phone"]

    assert fault_of(msgspec.json.encode(without)) == "Object missing required field `phone`"


@pytest.mark.parametrize(
    "last_offsets", [{"-1": 0}, {"0": -1}, {"x": 0}, {str(2**31): 0}, {"0": 2**63}, {"0": None}, []]
)
def test_offsets_that_kafka_cannot_have_are_invalid(last_offsets: object) -> None:
    base = {"import_id": str(IMPORT), "chunk": 0, "attempt": str(ATTEMPT), "event_count": 1}
    value = msgspec.json.encode(base | {"last_offsets": last_offsets})

    assert "last_offsets" in fault_of(value, imports.RangePublished.type)


def test_a_rejection_without_reasons_is_invalid() -> None:
    value = read(reasons={})

    assert "`$.reasons`" in fault_of(value, LegacyCustomerRejected.type)


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(["'", '"', " - at ", "`", ""]))
def test_the_fault_never_shows_the_value(text: str, trap: str) -> None:
    told = SECRET + trap + text + trap + SECRET

    for field in ("gender", "phone", "birthday", "last_auth_at", "city_id", "import_id"):
        assert SECRET not in fault_of(read(**{field: told}))
    for unusable in ({told: "word"}, {"phone": told}):
        assert SECRET not in fault_of(read(unusable=unusable))


def test_a_field_of_a_newer_producer_is_ignored() -> None:
    event = codec.decode(read(favourite_colour={"any": ["thing"]}), of_type(LegacyCustomerRead.type))

    assert isinstance(event, LegacyCustomerRead)
    assert event.phone == "79025163111"


@pytest.mark.parametrize("name", ["loyalty_card", "f" * 60, "line2"])
def test_names_of_fields_of_a_newer_producer_are_accepted(name: str) -> None:
    accepted = codec.decode(read(unusable={name: "too_long"}), of_type(LegacyCustomerRead.type))
    rejected = codec.decode(read(reasons={name: "too_long"}), of_type(LegacyCustomerRejected.type))

    assert isinstance(accepted, LegacyCustomerRead)
    assert isinstance(rejected, LegacyCustomerRejected)
    assert accepted.unusable == rejected.reasons == {name: "too_long"}


@given(st.binary(max_size=200), st.sampled_from([kind.type for kind in KINDS]))
def test_any_bytes_decode_or_are_invalid(value: bytes, kind: str) -> None:
    try:
        event = codec.decode(value, of_type(kind))
    except EventInvalid:
        return

    assert event.type == kind


def test_dates_travel_as_iso_8601() -> None:
    event = LegacyCustomerRead(
        import_id=IMPORT,
        chunk=0,
        attempt=ATTEMPT,
        legacy_id=1,
        read_at=datetime(2026, 1, 2, tzinfo=UTC),
        phone="79025163111",
        birthday=date(1990, 5, 17),
        last_auth_at=datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC),
    )

    sent = msgspec.json.decode(codec.encode(event))

    assert (sent["birthday"], sent["last_auth_at"]) == ("1990-05-17", "2023-12-21T04:20:37.024000Z")
