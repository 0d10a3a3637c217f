"""Names and e-mail addresses: how they are read, by example and by property."""

from unicodedata import is_normalized

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st
from vapteke_shared import texts

INVISIBLE = [" ", "\t", "\n", "\u00a0", "\u00ad", "\u034f", "\u115f", "\u180e", "\u200b", "\u200d", "\u200e"]
INVISIBLE += ["\u2028", "\u202e", "\u2060", "\u2066", "\u2800", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0"]
INVISIBLE += ["\U000e0001", "\U000e0100"]


@given(st.text() | st.text("ий\u0306е\u0308a\u0301 \u200b\u202e", max_size=8))
def test_a_trimmed_text_is_nfc_and_trimming_it_again_changes_nothing(text: str) -> None:
    made = texts.trimmed(text)

    assert is_normalized("NFC", made)
    assert texts.trimmed(made) == made == made.strip()


@given(st.lists(st.sampled_from(INVISIBLE), max_size=5).map("".join))
def test_what_shows_nothing_is_empty(nothing: str) -> None:
    assert texts.trimmed(nothing) == ""
    assert texts.trimmed(f"{nothing}Мари\u200dна{nothing}") == "Мари\u200dна"


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
def test_what_is_no_email_is_told(text: str) -> None:
    with pytest.raises(texts.EmailInvalid):
        texts.email(text)


@given(st.emails())
def test_the_short_cut_says_what_email_validator_says(text: str) -> None:
    try:
        judged = validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        judged = None

    try:
        made: str | None = texts.email(text)
    except texts.EmailInvalid:
        made = None

    assert made == judged
