"""Names and e-mail addresses: how they are read, by example and by property."""

import re
from unicodedata import category, is_normalized, normalize

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st
from vapteke_shared.contract import limits, texts

INVISIBLE = [" ", "\t", "\n", "\u00a0", "\u00ad", "\u034f", "\u115f", "\u180e", "\u200b", "\u200d", "\u200e"]
INVISIBLE += ["\u2028", "\u202e", "\u2060", "\u2066", "\u2800", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0"]
INVISIBLE += ["\U000e0001", "\U000e0100"]


BREAKS = ["\t", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
DIRECTIONS = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
CONTROLS = [one for one in map(chr, [*range(1, 32), *range(127, 160)]) if not one.isspace()]
UNSEEN = [one for one in INVISIBLE if not one.isspace()]


@given(st.text() | st.text("ий\u0306е\u0308a\u0301 \u200b\u202e\u200d\t", max_size=8))
def test_a_cleaned_text_is_nfc_and_cleaning_it_again_changes_nothing(text: str) -> None:
    made = texts.cleaned(text)

    assert is_normalized("NFC", made)
    assert texts.cleaned(made) == made == made.strip()


@given(st.text())
def test_a_cleaned_text_has_no_direction_marks_and_line_breaks(text: str) -> None:
    made = texts.cleaned(text)

    assert not [one for one in made if category(one) in ("Cc", "Cf", "Zl", "Zp") and one != "\0"]


@given(st.lists(st.sampled_from(INVISIBLE), max_size=5).map("".join))
def test_an_invisible_text_is_empty(nothing: str) -> None:
    assert texts.cleaned(nothing) == ""
    assert texts.cleaned(f"{nothing}Марина{nothing}") == "Марина"
    assert re.fullmatch(texts.PATTERN, nothing) is None or any(one > "\uffff" for one in nothing)


@pytest.mark.parametrize("one", [*CONTROLS, *DIRECTIONS, *UNSEEN])
def test_invisible_characters_are_removed_inside_a_name_too(one: str) -> None:
    assert texts.cleaned(f"Ма{one}рина") == "Марина"


@pytest.mark.parametrize("one", BREAKS)
def test_a_line_break_becomes_a_blank(one: str) -> None:
    assert texts.cleaned(f"Анна{one}Мария{one}") == "Анна Мария"


def test_a_mark_composes_across_a_removed_character() -> None:
    assert texts.cleaned("Андреи\u200d\u0306") == "Андрей"


@pytest.mark.parametrize(
    "text", ["Анна-Мария", "O’Brien", "Ngô Thị Ngọc Hân", "محمد", "שָׁלוֹם", "ཀྱཽ", "José\u00a0Luis", "👩"]
)
def test_names_in_all_languages_stay(text: str) -> None:
    assert texts.cleaned(text) == normalize("NFC", text)


@given(st.text(st.characters(max_codepoint=0x45F, categories=["L", "M", "P", "Z", "S", "N"])))
def test_plain_letters_stay_unchanged(text: str) -> None:
    assert texts.cleaned(f"ё{text}ё") == normalize("NFC", f"ё{text}ё".replace("\u034f", ""))


def test_the_marks_on_one_letter_are_limited() -> None:
    assert texts.cleaned("a" + "\u0336" * 90 + "b") == "a" + "\u0336" * limits.MARKS_PER_LETTER + "b"


def test_a_zero_character_stays_for_the_caller_to_reject() -> None:
    assert texts.cleaned("a\0b") == "a\0b"


@pytest.mark.parametrize(
    ("given_as", "kept"),
    [
        ("ivan@xn--80a1acny.xn--p1ai", "ivan@почта.рф"),
        ("ivan@ПОЧТА.РФ", "ivan@почта.рф"),
        ("Ivan@Example.COM", "Ivan@example.com"),
        ("a.b-c+d@mail.example.ru", "a.b-c+d@mail.example.ru"),
        ("\u0438\u0306@example.com", "й@example.com"),
    ],
)
def test_an_email_has_one_form(given_as: str, kept: str) -> None:
    assert texts.email(given_as) == texts.email(kept) == kept


@pytest.mark.parametrize(
    "text", ["", "a@localhost", "a@shop.invalid", "a@b@example.com", "a b@example.com", "a@x\u202e.ru"]
)
def test_an_invalid_email_is_rejected(text: str) -> None:
    with pytest.raises(texts.EmailInvalid):
        texts.email(text)


capitals = st.builds(
    lambda mailbox, labels, top: f"{mailbox}@{'.'.join([*labels, top])}",
    st.from_regex(r"[A-Za-z0-9_+.-]{1,12}", fullmatch=True) | st.sampled_from(["Info", "WWW", "Postmaster", "a" * 64]),
    st.lists(
        st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True) | st.sampled_from(["XN--E1AFMKFD", "AB--C"]), max_size=3
    ),
    st.sampled_from(
        ["COM", "com", "Ru", "ru", "EXAMPLE", "Test", "LOCAL", "Localhost", "C0M", "X", "XN--P1AI", "\u212aom", "РФ"]
    ),
)


@given(st.emails() | capitals)
@settings(max_examples=500, deadline=None)
def test_the_pattern_for_plain_addresses_agrees_with_email_validator(text: str) -> None:
    try:
        judged = validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        judged = None

    try:
        made: str | None = texts.email(text)
    except texts.EmailInvalid:
        made = None

    assert made == judged
