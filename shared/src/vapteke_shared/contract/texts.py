"""Names and e-mail addresses: one reading for all who write them and all who search for them."""

import re
from itertools import groupby
from typing import Final
from unicodedata import is_normalized, normalize

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from vapteke_shared.contract import characters, limits

VERSION: Final = 1
"""Of the rule. One more whenever `cleaned` or `email` reads a text otherwise: what is kept is then read again."""

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"  # by their looks, not by category
_VARIATIONS = [*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))]  # of the glyph before them
_BREAKS = [one for one in characters.of("Cc", "Zl", "Zp") if one.isspace()]
_REMOVED = [
    *(one for one in characters.of("Cc", "Cf") if one not in _BREAKS and one != "\0"),
    *_BLANKS,
    *_VARIATIONS,
]
_CLEANED = str.maketrans(dict.fromkeys(_BREAKS, " ") | dict.fromkeys(_REMOVED))
_MARKS = list(characters.of("Mn", "Me"))


def _one_of(characters: list[str]) -> str:
    """Of a regular expression: a class of so many characters, by their ranges."""
    ranges = groupby(enumerate(sorted(map(ord, characters))), lambda place: place[1] - place[0])
    codes = [[code for _, code in each] for _, each in ranges]
    return "".join(f"{_escaped(each[0])}-{_escaped(each[-1])}" for each in codes)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code <= _BMP else f"\\U{code:08x}"


_BMP = 0xFFFF
PLAIN: Final = r"[ -~\u00c0-\u017f\u0400-\u045f]*"
"""Latin and Cyrillic letters and ASCII's signs, as a regular expression of Python and of Postgres."""
_TO_CLEAN = re.compile(f"[{_one_of(_BREAKS + _REMOVED)}]")
_HIGH_STACK = re.compile(f"([{_one_of(_MARKS)}]{{{limits.MARKS_PER_LETTER}}})[{_one_of(_MARKS)}]+")
_UNSEEN = _one_of([one for one in ["\0", *_BREAKS, *_REMOVED] if one <= chr(_BMP)])
PATTERN: Final = rf"^[^\u0000]*[^\s{_UNSEEN}][^\u0000]*$"
"""What JSON Schema can say of a text that is not empty."""
PLAIN_EMAIL: Final = r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]{2,})"
"""A plain address that email-validator takes as it stands, or refuses; it judges others itself, many times slower."""
_PLAIN = re.compile(PLAIN)
_PLAIN_EMAIL = re.compile(PLAIN_EMAIL)
_SPECIAL = frozenset(name.rsplit(".", 1)[-1] for name in SPECIAL_USE_DOMAIN_NAMES)


class EmailInvalid(ValueError):
    """The text is no e-mail address."""


def is_plain(text: str) -> bool:
    """Latin and Cyrillic letters and ASCII's signs: but for blanks at its ends, there is nothing to clean or refuse."""
    return _PLAIN.fullmatch(text) is not None


def cleaned(text: str) -> str:
    """The text as it is kept and looked for. Doing it again changes nothing; its length is counted after this.

    In Unicode's form NFC. Nobody sees control characters, marks of direction and other invisible ones, and who typed a
    name could not mend what a refusal says of them: they are removed. Line breaks and tabs become blanks, blanks at the
    ends go, and so do the marks on one letter beyond `limits.MARKS_PER_LETTER`. U+0000 stays, for the caller to refuse.
    """
    if is_plain(text):
        return text.strip()
    if _TO_CLEAN.search(text):
        text = text.translate(_CLEANED)
    if not is_normalized("NFC", text):
        text = normalize("NFC", text)
    return _HIGH_STACK.sub(r"\1", text).strip()


def email(text: str) -> str:
    """A cleaned address with its domain in lower case and in its own letters (not `xn--`), without asking the DNS.

    Raises EmailInvalid.
    """
    if is_plain_email(text):
        return text
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise EmailInvalid from None


def is_plain_email(text: str) -> bool:
    """Whether `email` takes it as it stands."""
    match = _PLAIN_EMAIL.fullmatch(text) if len(text) <= 63 else None
    return match is not None and match[1] not in _SPECIAL
