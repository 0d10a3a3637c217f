"""The phone rule (docs/contract.md, "Phones"): parses a phone and splits off its country calling code."""

import re
from typing import Final, NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from vapteke_shared.contract import characters
from vapteke_shared.contract.limits import PHONE_MAX_DIGITS, PHONE_MIN_DIGITS

_CODES = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))
# Most numbers are Russian: for these spellings this gives the same answer as the whole rule, several times faster.
_RUSSIAN = re.compile(r"(?:(?:\+?7|8)[ -]?|(?=\(?9))\(?(\d{3})\)?[ -]?(\d{3})[ -]?(\d\d)[ -]?(\d\d)", re.ASCII)
_SIGNS = dict.fromkeys(map(ord, " \t+-()[]{}."))
_SPACES, _FORMATS = characters.of("Zs"), characters.of("Cf")
_DASHES = characters.of("Pd") + "\u2053\u207b\u208b\u2212"  # and the dashes of other categories
_PLAIN = {**dict.fromkeys(map(ord, _SPACES), " "), **dict.fromkeys(map(ord, _DASHES), "-")} | dict.fromkeys(
    map(ord, _FORMATS)
)
_QUOTES = characters.of("Pi", "Pf") + "\"'`\u00b4\u02bc\u02b9\u2032\u2033\u201a\u201e\uff02\uff07"
_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_EDGES = f" \t{_LINE_BREAKS}{_QUOTES}"
_BEGINNING = re.compile(rf"(?:[{re.escape(_EDGES)}]|tel:|=(?=[{re.escape(_QUOTES)}]))*", re.IGNORECASE)
# A number with decimal zeros: plain, or in groups of three, as spreadsheets show it.
_WITH_ZEROS = re.compile(r"(\+?\d+|\+?\d{1,3}(?: \d{3})+)[.,]0+", re.ASCII)
_SEPARATED = re.compile(rf"\d.*[,;/\\|{_LINE_BREAKS}].*\d", re.DOTALL)
_BLANK_OR_BRACKET = re.compile(r"[\s(]")
_IN_PAIRS = r"\d{1,3}-\d\d-\d\d"
_WHOLE = rf"(?:{_IN_PAIRS}|\d{{3}}-\d{{3,4}}|(?!810)[1-9]\d{{5,6}})"
_GAP = r"\s+(?:-\s+)?"
_TWO_IN_PAIRS = re.compile(rf"(?:^|\s){_IN_PAIRS}{_GAP}{_IN_PAIRS}(?:\s|$)")
_TWO_WHOLE = re.compile(rf"{_WHOLE}{_GAP}{_WHOLE}")
# A number with an extension: in brackets, or without brackets after a Russian number, whose length is known.
_EXTENSION_IN_BRACKETS = re.compile(r"(\+? ?(?:\d|\([\d -]+\) ?)(?:[ .-]?\d| ?\(\d+\) ?)*) ?\(\d{1,5}\)")
_EXTENSION_AFTER_8 = re.compile(r"(8[ -]?\(?\d{3,5}\)?[ -]?\d{1,3}[ -]?\d\d[ -]?\d\d) \d{1,4}")
# A Russian mobile number without 7 or 8. Groups separated only by blanks may be a foreign number: 998 901 23 45 67.
_EXTENSION_AFTER_9 = re.compile(r"(9\d{9}|\(9\d\d\)[ -]?\d{3}[ -]?\d\d[ -]?\d\d|9\d\d[ -]\d{3}-\d\d-\d\d) \d{1,4}")
_WITH_EXTENSION: Final = (_EXTENSION_IN_BRACKETS, _EXTENSION_AFTER_8, _EXTENSION_AFTER_9)


class Phone(NamedTuple):
    """A phone in two parts: `code` is the country calling code, `number` is all digits after the code."""

    code: str
    number: str

    @property
    def digits(self) -> str:
        return self.code + self.number


class PhoneInvalid(ValueError):
    """The text is not a phone. `reason` is a code for programs and never contains the text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Phone:
    """Parse a phone in any spelling. Parsing the digits of the result gives the same phone.

    Raises PhoneInvalid with one of: missing, not_digits, two_numbers, too_short, too_long, no_country_code,
    not_ten_digits_after_7.
    """
    return split(digits_of(text))


def digits_of(text: str) -> str:
    """The digits of a phone in any spelling, country calling code first. Raises PhoneInvalid like `parse`."""
    if russian := _RUSSIAN.fullmatch(text):
        return "7" + "".join(russian.groups())
    written = _undecorated(text)
    if russian := _RUSSIAN.fullmatch(written):
        return "7" + "".join(russian.groups())
    return _digits_by_the_whole_rule(written)


def digits_by_the_whole_rule(text: str) -> str:
    """Like `digits_of`, but slower, without the shortcut for Russian numbers. A test compares the two functions."""
    return _digits_by_the_whole_rule(_undecorated(text))


def _digits_by_the_whole_rule(written: str) -> str:
    digits = written.translate(_SIGNS)
    if not digits:
        raise PhoneInvalid("missing")
    if not (digits.isascii() and digits.isdigit()):
        raise PhoneInvalid("two_numbers" if _SEPARATED.search(written) else "not_digits")
    if digits != written.removeprefix("+") and _is_more_than_one(written):
        raise PhoneInvalid("two_numbers")
    return _parsed(digits).digits


def split(digits: str) -> Phone:
    """Split 11 to 15 international digits into code and number.

    Raises PhoneInvalid for another length or an unknown code, but does not check that all characters are digits. Unlike
    `parse`, this accepts any number of digits after code 7: events and rows that were written under an older rule must
    stay readable.
    """
    _check_length(digits)
    code = _country_code(digits)
    return Phone(code, digits[len(code) :])


def check(digits: str) -> None:
    """Raise PhoneInvalid unless these are 11 to 15 digits that begin with a country calling code.

    Like `split`, and unlike `parse`, this accepts any number of digits after code 7. Decoding calls this for every
    legacy customer. It is faster than a regular expression.
    """
    if not (digits.isdigit() and digits.isascii()):
        raise PhoneInvalid("not_digits")
    _check_length(digits)
    _country_code(digits)


def _check_length(digits: str) -> None:
    if len(digits) < PHONE_MIN_DIGITS:
        raise PhoneInvalid("too_short")
    if len(digits) > PHONE_MAX_DIGITS:
        raise PhoneInvalid("too_long")


def _country_code(digits: str) -> str:
    for length in (1, 2, 3):  # no code is the beginning of another: at most one matches
        if digits[:length] in _CODES:
            return digits[:length]
    raise PhoneInvalid("no_country_code")


def _undecorated(text: str) -> str:
    """The text without what may surround a phone: blanks, quotes, `tel:`, a last semicolon, and decimal zeros.

    Inside the text, spaces and dashes become ASCII ones, and invisible format characters are removed.
    """
    written = (text if text.isascii() else text.translate(_PLAIN)).rstrip(_EDGES)
    written = written.removesuffix(";").rstrip(_EDGES)
    beginning = _BEGINNING.match(written)
    written = written[beginning.end() :] if beginning else written
    with_zeros = _WITH_ZEROS.fullmatch(written)
    return with_zeros[1] if with_zeros else written


def _is_more_than_one(written: str) -> bool:
    if not _BLANK_OR_BRACKET.search(written):  # all that follows looks for one of these; most numbers have neither
        return False
    if _TWO_IN_PAIRS.search(written) or _TWO_WHOLE.fullmatch(written) or _is_two_similar_groups(written):
        return True
    extended = next(filter(None, (kind.fullmatch(written) for kind in _WITH_EXTENSION)), None)
    return extended is not None and _is_phone_or_city_number(extended[1].translate(_SIGNS))


def _is_two_similar_groups(written: str) -> bool:
    """Whether the text is two groups with the same signs at the same positions, such as (23-45-67) (23-45-68).

    A group must have at least five digits, and a sign besides the digits.
    """
    groups = [group for group in written.split() if group != "-"]
    if len(groups) != 2 or len(groups[0]) != len(groups[1]):
        return False
    signs, other_signs = (re.sub(r"\d", "0", group) for group in groups)
    return signs == other_signs and not signs.isdigit() and signs.count("0") >= 5


def _is_phone_or_city_number(digits: str) -> bool:
    """Whether the digits are a whole phone, or a city number: ten digits with an area code but no country code."""
    if len(digits) == 10:
        return True
    try:
        _parsed(digits)
    except PhoneInvalid:
        return False
    return True


def _parsed(digits: str) -> Phone:
    phone = split(_international(digits))
    if phone.code == "7" and len(phone.number) != 10:
        raise PhoneInvalid("not_ten_digits_after_7")
    return phone


def _international(digits: str) -> str:
    """The digits without the prefix 00 or 810, and with 7 first if they are a Russian number in a national spelling.

    A prefix counts only before 11 to 15 digits. Raises PhoneInvalid for two prefixes.
    """
    without = _without_prefix(digits)
    if without != digits and _without_prefix(without) != without:
        raise PhoneInvalid("no_country_code")
    return _with_seven(without)


def _without_prefix(digits: str) -> str:
    for prefix in ("00", "810"):
        if digits.startswith(prefix) and PHONE_MIN_DIGITS <= len(digits) - len(prefix) <= PHONE_MAX_DIGITS:
            return digits[len(prefix) :]
    return digits


def _with_seven(digits: str) -> str:
    """The digits with 7 first if they are a Russian number. Other digits are returned unchanged.

    Ten digits that begin with 9 get a 7 before them. Of eleven digits, a first 8 becomes 7. Of twelve digits, a first
    77 or 78 becomes 7 if the next digit is 3, 4, 7, 8 or 9.
    """
    if len(digits) == 10 and digits[0] == "9":
        return "7" + digits
    if len(digits) == 11 and digits[0] == "8":
        return "7" + digits[1:]
    if len(digits) == 12 and digits[:2] in ("77", "78") and digits[2] in "34789":
        return "7" + digits[2:]
    return digits
