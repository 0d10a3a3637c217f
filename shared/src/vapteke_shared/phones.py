"""The phone rule (contract, section Phones): what a phone is, and where its country calling code ends."""

from typing import NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

_CODES = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))
_TRIMMED = dict.fromkeys(map(ord, " \t\r\n\f\v\u00a0\u2007\u2009\u202f+-()[]{}."))


class Phone(NamedTuple):
    """`code` is the country calling code, `number` every digit after it."""

    code: str
    number: str

    @property
    def digits(self) -> str:
        return self.code + self.number


class PhoneInvalid(ValueError):
    """The text is no phone; `reason` is a word for machines and never holds the text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Phone:
    """Raises PhoneInvalid with one of: missing, not_digits, too_short, too_long, no_country_code."""
    digits = text.translate(_TRIMMED)
    if not digits:
        raise PhoneInvalid("missing")
    if not (digits.isascii() and digits.isdigit()):
        raise PhoneInvalid("not_digits")
    return split(_international(digits))


def split(digits: str) -> Phone:
    """Split international digits, 11 to 15 of them; raises PhoneInvalid."""
    if len(digits) < 11:
        raise PhoneInvalid("too_short")
    if len(digits) > 15:
        raise PhoneInvalid("too_long")
    for length in (1, 2, 3):  # the codes are prefix-free: at most one fits
        if digits[:length] in _CODES:
            return Phone(digits[:length], digits[length:])
    raise PhoneInvalid("no_country_code")


def _international(digits: str) -> str:
    if len(digits) == 10 and digits[0] == "9":
        return "7" + digits
    if len(digits) == 11 and digits[0] == "8":
        return "7" + digits[1:]
    return digits
