"""The phone rule: the contract's section Phones, by example and by property."""

import sys
from collections.abc import Callable
from itertools import permutations
from unicodedata import category

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from vapteke_shared.contract import phones
from vapteke_shared.contract.phones import Phone, PhoneInvalid

CODES = {str(code) for code in COUNTRY_CODE_TO_REGION_CODE}
REASONS = {
    "missing",
    "not_digits",
    "two_numbers",
    "too_short",
    "too_long",
    "no_country_code",
    "not_ten_digits_after_7",
}
DIGITS = "0123456789"
SPACES, DASHES, FORMATS = (
    [one for one in map(chr, range(sys.maxunicode + 1)) if category(one) == kind] for kind in ("Zs", "Pd", "Cf")
)

accepted_digits = st.builds(
    lambda code, rest: code + rest,
    st.sampled_from(sorted(CODES - {"7"})),
    st.text(DIGITS, min_size=10, max_size=12),
).filter(
    lambda digits: (
        len(digits) <= 15
        and not (len(digits) == 11 and digits[0] == "8")
        and not (len(digits) >= 14 and digits.startswith("810"))
    )
)
russian = st.text(DIGITS, min_size=9, max_size=9).map(lambda rest: "9" + rest)
decoration = st.text(" \t\u00a0+-()[]{}.", max_size=3)
# One dot alone may be that of a decimal number.
decorations = st.lists(decoration, min_size=16, max_size=16).filter(
    lambda between: "".join(between).strip(" \t\u00a0+") != "."
)
near_phones = st.text(DIGITS + " +-().8", max_size=20)
prefixes = st.sampled_from(["", "00", "810", "0", "8", "7", "+7 8", "+7 +7", "8 10 ", "00 810", "'", "tel:", '="'])
endings = st.sampled_from(["", ".0", ",00", ";", '"', " (12)", " 12", ", 2", "\n", "\u202c"])
grouped = st.lists(st.text(DIGITS, min_size=1, max_size=11), min_size=1, max_size=4).flatmap(
    lambda groups: st.sampled_from([" ", "-", ") ", " - ", "\u00a0", "\u2011", ".", ""]).map(
        lambda between: between.join(groups)
    )
)
spellings = st.builds(lambda *parts: "".join(parts), prefixes, grouped | near_phones, endings)

separator = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011"])
in_groups = st.builds(
    lambda prefix, opening, area, closing, *rest: "".join([prefix, opening, area, closing, *rest]),
    st.sampled_from(["", "8", "7", "+7", "8 ", "+7 ", "7-", "8-", "+8", "9", " 8", "'7"]),
    st.sampled_from(["", "("]),
    st.text(DIGITS, min_size=3, max_size=3) | st.text(DIGITS, min_size=2, max_size=2).map(lambda rest: "9" + rest),
    st.sampled_from(["", ")", ") "]),
    separator,
    st.text(DIGITS, min_size=3, max_size=3),
    separator,
    st.text(DIGITS, min_size=2, max_size=2),
    separator,
    st.text(DIGITS, min_size=2, max_size=2),
    st.sampled_from(["", "", ".0", " ", ";", "1", " (1)"]),
)


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
        ("8 (701) 123-45-67", "7", "7011234567"),
        ("+998 90 123 45 67", "998", "901234567"),
        ("998 901 23 45 67", "998", "901234567"),
        ("+375 29 123-45-67", "375", "291234567"),
        ("8 800 555 35 35", "7", "8005553535"),
        ("79025550001.0", "7", "9025550001"),
        ("79025550003.00", "7", "9025550003"),
        ("79025550003,00", "7", "9025550003"),
        ("+79025550003.0", "7", "9025550003"),
        ("375 291 234 567.00", "375", "291234567"),
        ("79\u00a0025\u00a0550\u00a0003,00", "7", "9025550003"),
        ("+7 8 902 555 00 04", "7", "9025550004"),
        ("+7 +7 902 516 31 11", "7", "9025163111"),
        ("7 7 701 123 45 67", "7", "7011234567"),
        ("+7 8 495 555-00-06", "7", "4955550006"),
        ("\u202a+7 902 516-31-11\u202c", "7", "9025163111"),
        ("\ufeff+7\u200b902\u2060516\u00ad3111\u200e", "7", "9025163111"),
        ("+7 902 516\u201131\u201111", "7", "9025163111"),
        ("+7\u2212902\u2013516\u201431\u301c11", "7", "9025163111"),
        ("'79025163111", "7", "9025163111"),
        ("\u00ab79025163111\u00bb", "7", "9025163111"),
        ('"+7 902 516-31-11"', "7", "9025163111"),
        ('="79025163111"', "7", "9025163111"),
        ('="+375291234567";', "375", "291234567"),
        ("79025163111;", "7", "9025163111"),
        ('"79025163111;"', "7", "9025163111"),
        ("tel:+79025163111", "7", "9025163111"),
        ("TEL: 8 902 516 31 11", "7", "9025163111"),
        ("007 902 516 31 11", "7", "9025163111"),
        ("00375291234567", "375", "291234567"),
        ("8 10 7 902 516 31 11", "7", "9025163111"),
        ("8-10-375-29-123-45-67", "375", "291234567"),
        ("00 8 902 516 31 11", "7", "9025163111"),
        ("89025163111\r\n", "7", "9025163111"),
        ("83952 23-45-67", "7", "3952234567"),
        ("+37529 1234567", "375", "291234567"),
        ("007902 5163111", "7", "9025163111"),
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
        ("+7 495 555-00-06 (12)", "two_numbers"),
        ("8 (495) 555-00-06 (12)", "two_numbers"),
        ("8 495 555-00-06 12", "two_numbers"),
        ("9025163111 12", "two_numbers"),
        ("(902) 516-31-11 12", "two_numbers"),
        ("902 516-31-11 1234", "two_numbers"),
        ("+375 29 123-45-67 (12)", "two_numbers"),
        ("(902) 516-31-11 (1)", "two_numbers"),
        ("(8 902) 516-31-11 (12)", "two_numbers"),
        ("(495) 555-00-06 (12)", "two_numbers"),
        ("+ (375) 29 123-45-67 (1)", "two_numbers"),
        ("+7 495 555-00-06 #12", "not_digits"),
        ("+7 495 555-00-06 \u0434\u043e\u0431. 12", "not_digits"),
        ("23-45-62 23-45-67", "two_numbers"),
        ("23\u201045\u201062\u00a023\u201045\u201067", "two_numbers"),
        ("23-45-62 - 23-45-67", "two_numbers"),
        ("516-31-11 516-31-12", "two_numbers"),
        ("9-12-34 9-12-35", "two_numbers"),
        ("3952 23-45-67 2-34-56", "two_numbers"),
        ("234562 234567", "two_numbers"),
        ("5163111 5163112", "two_numbers"),
        ("234562 23-45-67", "two_numbers"),
        ("516-3111 516-3112", "two_numbers"),
        ("23.45.62 23.45.67", "two_numbers"),
        ("(23-45-62) (23-45-67)", "two_numbers"),
        ("+23-45-62 +23-45-67", "two_numbers"),
        ("8-23-45-62 8-23-45-67", "two_numbers"),
        ("23-4562 23-4567", "two_numbers"),
        ("516-31-11, 516-31-12", "two_numbers"),
        ("516-31-11/516-31-12", "two_numbers"),
        ("516-31-11\n516-31-12", "two_numbers"),
        ("516-31-11\u2028516-31-12", "two_numbers"),
        ("516-31-11; 516-31-12", "two_numbers"),
        ("79025163111,79025163112", "two_numbers"),
        ("7902516311100", "not_ten_digits_after_7"),
        ("790251631110", "not_ten_digits_after_7"),
        ("+7 8 202 516 31 11", "not_ten_digits_after_7"),
        ("79025163111.5", "not_ten_digits_after_7"),
        ("007 902 516 31 1", "no_country_code"),
        ("0000 7 902 516 31 11", "no_country_code"),
        ("00 810 7 902 516 31 11", "no_country_code"),
        ("810 810 12345678901", "no_country_code"),
        ("8 10 902 516", "too_short"),
        ("+\uff17\uff19\uff10\uff12\uff15\uff11\uff16\uff13\uff11\uff11\uff11", "not_digits"),
        ("7.90251631110000E+10", "not_digits"),
        ("79025163111,", "not_digits"),
        ("7'9025163111", "not_digits"),
    ],
)
def test_an_invalid_phone_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(PhoneInvalid) as invalid:
        phones.parse(text)

    assert invalid.value.reason == reason


@given(accepted_digits, decorations)
def test_signs_between_the_digits_do_not_matter(digits: str, between: list[str]) -> None:
    assert phones.parse(decorated(digits, between)).digits == digits


@given(russian, decorations, st.sampled_from(["", "7", "8"]))
def test_all_spellings_of_a_russian_number_are_one_number(number: str, between: list[str], prefix: str) -> None:
    assert phones.parse(decorated(prefix + number, between)) == Phone("7", number)


@pytest.mark.parametrize("signs", [SPACES, DASHES, FORMATS], ids=["spaces", "dashes", "formats"])
def test_every_space_dash_and_format_character_of_unicode_is_removed(signs: list[str]) -> None:
    written = [f"{sign}+7{sign}902{sign}516{sign}31{sign}11{sign}" for sign in signs]

    assert {phone_or_reason(spelling) for spelling in written} == {Phone("7", "9025163111")}


@given(st.sampled_from(["+7", "8", "7", "", "007", "8107", "+7 8", "77", "+7+7"]), russian)
def test_every_prefix_of_a_russian_number_is_understood(prefix: str, number: str) -> None:
    assert phones.parse(prefix + number) == Phone("7", number)


@given(st.text(DIGITS, min_size=11, max_size=14).filter(lambda rest: not rest.startswith(("3", "4", "7", "8", "9"))))
def test_code_7_has_exactly_ten_digits_after_it(rest: str) -> None:
    assert phone_or_reason("7" + rest) == "not_ten_digits_after_7"


@given(st.one_of(accepted_digits, near_phones, russian, spellings))
@example("81081012345678901")
@example("0081012345678901")
def test_parsing_the_parsed_digits_changes_nothing(text: str) -> None:
    phone = phone_or_reason(text)

    if isinstance(phone, Phone):
        assert phones.parse(phone.digits) == phones.split(phone.digits) == phone
        assert phones.parse(f"+{phone.digits}") == phone
        assert phones.parse(f"+{phone.code} {phone.number}") == phone


@given(
    st.one_of(st.text(), near_phones, spellings, st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
)
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
    assert made.code != "7" or len(made.number) == 10


def outcome(read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except PhoneInvalid as error:
        return error.reason


@given(st.one_of(in_groups, spellings, near_phones, accepted_digits))
@settings(max_examples=500)
def test_the_shortcut_for_russian_numbers_agrees_with_the_whole_rule(text: str) -> None:
    assert outcome(phones.digits_of, text) == outcome(phones.digits_by_the_whole_rule, text)


def test_no_calling_code_begins_with_another() -> None:
    assert not [(one, other) for one, other in permutations(CODES, 2) if other.startswith(one)]
