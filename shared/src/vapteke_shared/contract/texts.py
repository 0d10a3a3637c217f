"""Cleans names and e-mail addresses, in the same way for all code that stores them and all code that searches them."""

import re
from itertools import groupby
from typing import Final
from unicodedata import is_normalized, normalize

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from vapteke_shared.contract import characters, limits

VERSION: Final = 2
"""The version of this rule. Increase it when `cleaned` or `email` changes: stored texts are then cleaned again."""

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"  # invisible, in other categories
# each selects a variant of the glyph before it
_VARIATIONS = [*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))]
_BREAKS = [one for one in characters.of("Cc", "Zl", "Zp") if one.isspace()]
_REMOVED = [
    *(one for one in characters.of("Cc", "Cf") if one not in _BREAKS and one != "\0"),
    *_BLANKS,
    *_VARIATIONS,
]
_CLEANED = str.maketrans(dict.fromkeys(_BREAKS, " ") | dict.fromkeys(_REMOVED))
_MARKS = list(characters.of("Mn", "Me"))


def _one_of(characters: list[str]) -> str:
    """The inside of a regular expression's character class that matches these characters, as ranges."""
    ranges = groupby(enumerate(sorted(map(ord, characters))), lambda indexed: indexed[1] - indexed[0])
    codes = [[code for _, code in each] for _, each in ranges]
    return "".join(f"{_escaped(each[0])}-{_escaped(each[-1])}" for each in codes)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code <= _BMP else f"\\U{code:08x}"


_BMP = 0xFFFF
PLAIN: Final = r"[ -~\u00c0-\u017f\u0400-\u045f]*"
"""Printable ASCII and most Latin and Cyrillic letters, as a regular expression for both Python and Postgres."""
_TO_CLEAN = re.compile(f"[{_one_of(_BREAKS + _REMOVED)}]")
_HIGH_STACK = re.compile(f"([{_one_of(_MARKS)}]{{{limits.MARKS_PER_LETTER}}})[{_one_of(_MARKS)}]+")
_UNSEEN = _one_of([one for one in ["\0", *_BREAKS, *_REMOVED] if one <= chr(_BMP)])
PATTERN: Final = rf"^[^\u0000]*[^\s{_UNSEEN}][^\u0000]*$"
"""A text that is not empty, as far as a JSON Schema pattern can express it."""
PLAIN_EMAIL: Final = r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]{2,})"
"""A plain address: email-validator would accept it, unchanged except for `LOWER_CASE_MAILBOXES`, or reject it for its
top-level domain. Most others go to email-validator itself, which is many times slower."""
_PLAIN = re.compile(PLAIN)
# Possessive quantifiers, which Postgres does not know, save a third: no part of the pattern can give characters back.
_PLAIN_EMAIL = re.compile(re.sub(r"(?<=[\])])[+*]", r"\g<0>+", PLAIN_EMAIL))
LOWER_CASE_MAILBOXES: Final = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)
"""Names before the @, such as info, that email-validator turns into lower case. They have ASCII letters only."""
_SPECIAL = frozenset(name.rsplit(".", 1)[-1] for name in SPECIAL_USE_DOMAIN_NAMES)


class EmailInvalid(ValueError):
    """The text is not an e-mail address."""


def is_plain(text: str) -> bool:
    """Whether a quick look shows that `cleaned` would at most remove blanks at the ends of the text.

    This is so if the text has only the characters of PLAIN. False says nothing: `cleaned` may still change nothing.
    """
    return _PLAIN.fullmatch(text) is not None


def cleaned(text: str) -> str:
    """The text as it is stored and searched, in Unicode form NFC. Cleaning it again changes nothing.

    Control characters, direction marks and other invisible characters are removed: the person who typed a name cannot
    see them, so an error about them would not help. Line breaks and tabs become blanks. Blanks at the ends are removed,
    and so are marks on one letter beyond `limits.MARKS_PER_LETTER`. U+0000 and unpaired surrogates stay, and the caller
    must reject them, because Postgres cannot store them. The result may be empty. Length limits apply to it.
    """
    if is_plain(text):
        return text.strip()
    if _TO_CLEAN.search(text):
        text = text.translate(_CLEANED)
    if not is_normalized("NFC", text):
        text = normalize("NFC", text)
    return _HIGH_STACK.sub(r"\1", text).strip()


def email(text: str) -> str:
    """The normalised form of an address, without asking DNS. The domain is in lower case, with `xn--` labels decoded.

    Before the @, only names such as `info` and `postmaster` become lower case. Pass the address through `cleaned`
    first. Raises EmailInvalid, also for an empty text.
    """
    if is_plain_email(text):
        return text
    if plain := _plain_with_lower_case_domain(text):
        return plain
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise EmailInvalid from None


def _plain_with_lower_case_domain(text: str) -> str | None:
    """What `email` returns for an address that is plain except for capital letters in its domain; None for others."""
    mailbox, _, domain = text.rpartition("@")
    plain = f"{mailbox}@{domain.lower()}"
    return plain if text.isascii() and is_plain_email(plain) else None


def is_plain_email(text: str) -> bool:
    """Whether the address is plain, so that `email` returns it unchanged. Many other addresses are valid too."""
    match = _PLAIN_EMAIL.fullmatch(text) if len(text) <= 63 else None
    return match is not None and match[1] not in _SPECIAL and not _has_mailbox_in_capitals(text)


def _has_mailbox_in_capitals(text: str) -> bool:
    mailbox = text.partition("@")[0]
    return not mailbox.islower() and mailbox.lower() in LOWER_CASE_MAILBOXES
