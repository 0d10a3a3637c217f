"""The phone rule: the contract's section Phones, by example and by property."""

from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from vapteke_shared import phones
from vapteke_shared.phones import Phone, PhoneInvalid

CODES = {str(code) for code in COUNTRY_CODE_TO_REGION_CODE}
REASONS = {"missing", "not_digits", "too_short", "too_long", "no_country_code"}
DIGITS = "0123456789"

accepted_digits = st.builds(
    lambda code, rest: code + rest,
    st.sampled_from(sorted(CODES - {"8"})),
    st.text(DIGITS, min_size=10, max_size=12),
).filter(lambda digits: len(digits) <= 15 and not (len(digits) == 11 and digits[0] == "8"))
russian = st.text(DIGITS, min_size=9, max_size=9).map(lambda rest: "9" + rest)
decoration = st.text(" \t\u00a0+-()[]{}.", max_size=3)
near_phones = st.text(DIGITS + " +-().8", max_size=20)


def decorated(digits: str, between: list[str]) -> str:
    return "".join(before + digit for before, digit in zip(between, digits, strict=False)) + between[-1]


def phone_or_reason(text: str) -> Phone | str:
    try:
        return phones.parse(text)
    except PhoneInvalid as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "code", "number"),
    [
        ("50110556645", "501", "10556645"),
        ("65979638297", "65", "979638297"),
        ("79025163111", "7", "9025163111"),
        ("9025163111", "7", "9025163111"),
        ("89025163111", "7", "9025163111"),
        ("+7 (902) 516-31-11", "7", "9025163111"),
        ("8.902.516.31.11", "7", "9025163111"),
        ("[7] {902} 5163111", "7", "9025163111"),
        ("7\u00a0902\u00a0516\u00a031\u00a011", "7", "9025163111"),
        ("375291234567", "375", "291234567"),
        ("861901234567890", "86", "1901234567890"),
    ],
)
def test_a_phone_of_the_contract_is_split_into_code_and_number(text: str, code: str, number: str) -> None:
    assert phones.parse(text) == Phone(code, number)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing"),
        (" +-()[]{}. ", "missing"),
        ("89025163111 доб. 12", "not_digits"),
        ("8902516311O", "not_digits"),
        ("٨٩٠٢٥١٦٣١١١", "not_digits"),
        ("²9025163111", "not_digits"),
        ("8902516311\0", "not_digits"),
        ("89025163111\ud800", "not_digits"),
        ("5163111", "too_short"),
        ("3025163111", "too_short"),
        ("8902516311", "too_short"),
        ("7902516311100000", "too_long"),
        ("00000000000", "no_country_code"),
        ("210902516311", "no_country_code"),
    ],
)
def test_what_is_no_phone_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(PhoneInvalid) as invalid:
        phones.parse(text)

    assert invalid.value.reason == reason


@given(accepted_digits, st.lists(decoration, min_size=16, max_size=16))
def test_signs_between_the_digits_do_not_matter(digits: str, between: list[str]) -> None:
    assert phones.parse(decorated(digits, between)).digits == digits


@given(russian, st.lists(decoration, min_size=16, max_size=16), st.sampled_from(["", "7", "8"]))
def test_all_spellings_of_a_russian_number_are_one_number(number: str, between: list[str], prefix: str) -> None:
    assert phones.parse(decorated(prefix + number, between)) == Phone("7", number)


@given(st.one_of(accepted_digits, near_phones, russian))
def test_parsing_the_parsed_digits_changes_nothing(text: str) -> None:
    phone = phone_or_reason(text)

    if isinstance(phone, Phone):
        assert phones.parse(phone.digits) == phones.split(phone.digits) == phone


@given(st.one_of(st.text(), near_phones, st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))))
@example("9" * 100_000)
@example("\0")
@example("\ud800")
def test_any_text_is_a_phone_of_the_table_or_has_a_known_reason(text: str) -> None:
    made = phone_or_reason(text)

    if isinstance(made, str):
        assert made in REASONS
        return
    assert made.code in CODES
    assert 11 <= len(made.digits) <= 15
    assert made.digits.isascii()
    assert made.digits.isdigit()


def test_no_calling_code_begins_with_another() -> None:
    assert not [(one, other) for one, other in permutations(CODES, 2) if other.startswith(one)]
