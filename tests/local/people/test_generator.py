"""Compares the generator's labels with a slow reading of its rows, which follows the rules and not its tables."""

import hashlib
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import pairwise

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from vapteke_local import people
from vapteke_local.people import Expected, Person

ORIGINAL_COUNT = 78_553
# SHA-256 of the 2,000 rows of seed 20, the same on Python 3.11, 3.12 and 3.13.
PINNED = "9431b6ccdc628ed7279eb1707d3b43bb873cc9d79e08a482f388698f23805aeb"
MEN = {"м", "m", "муж", "муж.", "мужской", "male", "1"}
CALLING_CODES = tuple(str(code) for code in COUNTRY_CODE_TO_REGION_CODE)
WOMEN = {"ж", "f", "жен", "жен.", "женский", "female", "2"}

seeds = st.integers(min_value=-(2**40), max_value=2**40)


def digits_of(phone: str | None) -> str | None:
    text = (phone or "").strip(" '\"=").removeprefix("tel:").removesuffix(";").removesuffix(".0")
    if re.fullmatch(r"\d{3}-\d\d-\d\d \d{3}-\d\d-\d\d", text):
        return None
    digits = "".join(sign for sign in text if sign not in " +-().\u00a0\u00ad\u2013")
    if not digits.isascii() or not digits.isdigit():
        return None
    for prefix in ("00", "810"):
        if digits.startswith(prefix) and len(digits) == len(prefix) + 11:
            digits = digits.removeprefix(prefix)
    if len(digits) == 12 and digits[:3] in ("779", "789"):
        digits = "7" + digits[2:]
    if len(digits) == 10 and digits[0] == "9":
        digits = "7" + digits
    if len(digits) == 11 and digits[0] == "8":
        digits = "7" + digits[1:]
    known = digits.startswith(CALLING_CODES) and (digits[0] != "7" or len(digits) == 11)
    return digits if 11 <= len(digits) <= 15 and known else None


def is_email(text: str) -> bool:
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def unusable_of(person: Person) -> tuple[str, ...]:
    email, gender = (person.email or "").strip(" "), (person.gender or "").strip(" ").lower()
    usable = {
        "first_name": len((person.first_name or "").strip(" ")) <= 100,
        "last_name": len((person.last_name or "").strip(" ")) <= 100,
        "email": not email or is_email(email),
        "birthday": person.birthday is None or date(1900, 1, 1) < person.birthday < date(2090, 1, 1),
        "gender": not gender or gender in MEN | WOMEN,
        "city_id": person.city_id is None or person.city_id >= 0,
    }
    return tuple(field for field, fits in usable.items() if not fits)


def winners(persons: Iterable[Person]) -> dict[str, int]:
    claims = defaultdict(list)
    for person in persons:
        claims[digits_of(person.phone)].append((person.last_auth_at or datetime.min, person.id))
    return {phone: max(of_phone)[1] for phone, of_phone in claims.items() if phone is not None}


def read_slowly(persons: list[Person]) -> list[Expected]:
    owners = winners(persons)
    read = []
    for person in persons:
        phone = digits_of(person.phone)
        owner = owners[phone] if phone else person.id
        rival = None if owner == person.id else owner
        read.append(Expected("created" if phone else "rejected", phone, unusable_of(person), rival))
    return read


def verdict_of(labels: list[Expected]) -> dict[str, int]:
    verdicts = Counter(label.verdict for label in labels)
    lacking = [label for label in labels if label.phone and (label.unusable or label.rival)]
    return {
        "read": len(labels),
        "created": verdicts["created"],
        "updated": 0,
        "unchanged": 0,
        "skipped": 0,
        "rejected": verdicts["rejected"],
        "repaired": len(lacking),
    }


@pytest.fixture(scope="module")
def original() -> tuple[list[Person], list[Expected]]:
    persons, labels = zip(*people.labelled(1, ORIGINAL_COUNT), strict=True)
    return list(persons), list(labels)


def test_same_seed_and_count_give_the_same_rows_everywhere() -> None:
    text = "\n".join(repr(tuple(person)) for person in people.generate(20, 2_000))

    assert hashlib.sha256(text.encode()).hexdigest() == PINNED


def test_other_seeds_give_other_people() -> None:
    first, second = ({person[1:] for person in people.generate(seed, 100)} for seed in (1, 2))

    assert not first & second


@given(seed=seeds, count=st.integers(min_value=0, max_value=700))
@settings(deadline=None, max_examples=60)
def test_labels_agree_with_a_slow_reading(seed: int, count: int) -> None:
    persons, labels = [], []
    for person, label in people.labelled(seed, count):
        persons.append(person)
        labels.append(label)

    assert labels == read_slowly(persons)
    assert persons == list(people.generate(seed, count))
    assert people.truth(seed, count) == verdict_of(labels)


def test_labels_of_as_many_rows_as_the_original_has_hold_too(original: tuple[list[Person], list[Expected]]) -> None:
    persons, labels = original

    assert read_slowly(persons) == labels
    assert people.truth(1, ORIGINAL_COUNT) == verdict_of(labels)


@given(seed=seeds, count=st.integers(min_value=0, max_value=3_000))
@settings(deadline=None, max_examples=30)
def test_every_row_read_has_one_class_in_both_imports(seed: int, count: int) -> None:
    first, again = people.truth(seed, count), people.truth_again(seed, count)

    classes = ("created", "updated", "unchanged", "skipped", "rejected")
    assert first["read"] == count == sum(first[name] for name in classes)
    assert again == {**first, "created": 0, "updated": 0, "unchanged": first["created"]}


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_handful_of_people_can_be_generated(count: int) -> None:
    persons = list(people.generate(3, count))

    assert len(persons) == count
    assert people.truth(3, count)["read"] == count


@pytest.mark.parametrize("count", [-1, people.MAX_COUNT + 1])
def test_an_invalid_count_is_rejected_before_the_first_row(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        people.generate(1, count)


@given(seed=seeds, start=st.integers(min_value=0, max_value=people.MAX_COUNT - 500))
@settings(deadline=None)
def test_ids_ascend_below_the_limit_of_int(seed: int, start: int) -> None:
    ids = [people.legacy_id(seed, row) for row in range(start, start + 500)]

    assert all(lower < higher for lower, higher in pairwise(ids))
    assert 0 < ids[0] < ids[-1] < 2**31


def test_ids_have_narrow_and_wide_gaps(original: tuple[list[Person], list[Expected]]) -> None:
    gaps = Counter(higher.id - lower.id for lower, higher in pairwise(original[0]))

    assert gaps[1] > 1_000
    assert sum(times for gap, times in gaps.items() if gap > 1_000) > 1_000


def kinds_of(person: Person, label: Expected) -> Iterator[str]:
    """The flaws of a row, by the words of the generator's table."""
    phone = (person.phone or "").strip()
    if label.verdict == "rejected":
        yield "no phone" if not phone else "over-long phone" if len(phone) >= 64 else "unreadable phone"
    if label.rival is not None:
        yield "lost phone"
    if len(label.unusable) == 6:
        yield "all fields"
        return
    if person.birthday is not None and person.birthday.year >= 2090:
        yield "future birthday"
    yield from label.unusable


def test_flaws_have_the_shares_of_the_table(original: tuple[list[Person], list[Expected]]) -> None:
    met = Counter(kind for person, label in zip(*original, strict=True) for kind in kinds_of(person, label))

    per_mille = {kind: 1000 * times / ORIGINAL_COUNT for kind, times in met.items()}
    shares = {
        "no phone": 6,
        "unreadable phone": 6,
        "over-long phone": 1,
        "lost phone": 5.5,
        "email": 10,
        "birthday": 4,
        "future birthday": 3,
        "gender": 5,
        "first_name": 1,
        "last_name": 1,
        "city_id": 1,
        "all fields": 1,
    }
    assert per_mille == pytest.approx(shares, rel=0.1, abs=0.4)


def test_clean_columns_have_the_shares_of_the_original(original: tuple[list[Person], list[Expected]]) -> None:
    persons, labels = original
    empty = Counter(field for person in persons for field in Person._fields if is_blank(getattr(person, field)))
    spaced = [person for person in persons if any(is_spaced(value) for value in person)]
    foreign = [label for label in labels if label.phone and label.phone[0] != "7"]

    shares = {"first_name": 50, "last_name": 50, "email": 400, "birthday": 500, "gender": 275, "city_id": 300}
    shares |= {"phone": 6, "last_auth_at": 200, "spaced": 20, "foreign": 31}
    met = empty | Counter(spaced=len(spaced), foreign=len(foreign))
    per_mille = {kind: 1000 * times / ORIGINAL_COUNT for kind, times in met.items()}
    assert per_mille == pytest.approx(shares, rel=0.05, abs=1)


def is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def is_spaced(value: object) -> bool:
    return isinstance(value, str) and not is_blank(value) and value != value.strip()


def test_rows_with_a_shared_phone_are_near_and_far_and_tie(original: tuple[list[Person], list[Expected]]) -> None:
    by_id = {person.id: person for person in original[0]}
    pairs = [(person, by_id[label.rival]) for person, label in zip(*original, strict=True) if label.rival]
    sizes = Counter(Counter(winner.id for _, winner in pairs).values())

    assert sum(abs(loser.id - winner.id) < 10_000 for loser, winner in pairs) > 50
    assert sum(abs(loser.id - winner.id) > 1_000_000 for loser, winner in pairs) > 50
    assert sum(loser.last_auth_at is winner.last_auth_at is None for loser, winner in pairs) > 20
    assert sum(loser.last_auth_at == winner.last_auth_at is not None for loser, winner in pairs) > 20
    assert sum(loser.last_auth_at is None is not winner.last_auth_at for loser, winner in pairs) > 20
    assert sum(loser.id > winner.id for loser, winner in pairs) > 20
    assert set(sizes) == {1, 2}


def test_rows_with_several_kinds_of_flaws_occur(original: tuple[list[Person], list[Expected]]) -> None:
    labels = original[1]

    assert any(label.verdict == "rejected" and label.unusable for label in labels)
    assert any(label.rival and label.unusable for label in labels)
    assert any(label.verdict == "created" and len(label.unusable) == 2 for label in labels)


def test_values_at_the_limits_occur(original: tuple[list[Person], list[Expected]]) -> None:
    persons = original[0]

    assert {len((person.first_name or "").strip()) for person in persons} >= {100, 101, 150}
    assert {len((person.email or "").strip()) for person in persons} >= {254}
    assert {date(1900, 1, 1), date(1900, 1, 2)} <= {person.birthday for person in persons}
    assert {person.city_id for person in persons} >= {-1, 0, 200}
    assert {len(label.phone) for label in original[1] if label.phone} == {11, 12, 14, 15}


def test_some_thousand_first_names_occur(original: tuple[list[Person], list[Expected]]) -> None:
    assert 1_500 < len({(person.first_name or "").strip() for person in original[0]}) < 5_000


def test_only_last_names_have_letters_outside_cp1251(original: tuple[list[Person], list[Expected]]) -> None:
    beyond = set()
    for person in original[0]:
        "".join(filter(None, (person.phone, person.first_name, person.email, person.gender))).encode("cp1251")
        last_name = (person.last_name or "").strip()
        if last_name.encode("cp1251", "replace").decode("cp1251") != last_name:
            beyond.add(last_name)

    assert len(beyond) > 10


def test_instants_are_values_of_sql_servers_datetime(original: tuple[list[Person], list[Expected]]) -> None:
    instants = [person.last_auth_at for person in original[0] if person.last_auth_at]

    assert {instant.microsecond % 10_000 for instant in instants} == {0, 3_000, 7_000}
    assert {instant.tzinfo for instant in instants} == {None}
    assert date(2012, 1, 1) <= min(instants).date() <= max(instants).date() < date(2025, 1, 1)


def test_speed_is_reported(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    started_at = time.perf_counter()
    deque(people.generate(1, 200_000), maxlen=0)
    rate = 200_000 / (time.perf_counter() - started_at)

    with capsys.disabled():
        pytestconfig.get_terminal_writer().line(f" made-up people: {rate:,.0f} rows/s")
    assert rate > 0
