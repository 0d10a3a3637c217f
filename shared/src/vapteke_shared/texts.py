"""Names and e-mail addresses: one reading for all who write them and all who search for them."""

import re
import sys
from typing import Final
from unicodedata import category, is_normalized, normalize

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

NAME_MAX: Final = 100
EMAIL_MAX: Final = 254

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"  # by their looks, not by category
_INVISIBLE = _BLANKS + "".join(
    one
    for one in map(chr, range(sys.maxunicode + 1))
    if one.isspace() or category(one) == "Cf" or "\ufe00" <= one <= "\ufe0f" or "\U000e0100" <= one <= "\U000e01ef"
)
# A plain address that email-validator takes as it stands; it judges all others itself, many times slower.
_PLAIN_EMAIL = re.compile(r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]{2,})")
_SPECIAL = frozenset(name.rsplit(".", 1)[-1] for name in SPECIAL_USE_DOMAIN_NAMES)


class EmailInvalid(ValueError):
    """The text is no e-mail address."""


def trimmed(text: str) -> str:
    """In Unicode's form NFC, without spaces and invisible characters at its ends; empty if there is nothing else.

    The length of a text is counted after this. Doing it again changes nothing.
    """
    composed = text if is_normalized("NFC", text) else normalize("NFC", text)
    return composed.strip(_INVISIBLE)


def email(text: str) -> str:
    """A trimmed address with its domain in lower case and in its own letters (not `xn--`), without asking the DNS.

    Raises EmailInvalid.
    """
    if _is_plain(text):
        return text
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise EmailInvalid from None


def _is_plain(text: str) -> bool:
    match = _PLAIN_EMAIL.fullmatch(text) if len(text) <= 63 else None
    return match is not None and match[1] not in _SPECIAL
