"""Phones of made-up people, as people type them.

No number belongs to a real person: no operator holds these Russian area codes, and no country uses these foreign ones.
Most rows have a usable phone. The last seven digits of its number belong to this row alone, except that rows which
`shared_phones` picks have the number of another row. A few rows have a phone that the import rejects: None, empty,
blank, unreadable or overlong.
"""

from typing import NamedTuple

from vapteke_local.people.random_draws import Draws, per_mille

SUBSCRIBERS = 10_000_000

NO_PHONE = per_mille(6)
UNREADABLE = NO_PHONE + per_mille(6)
# Draws below this one have no usable phone.
OVERLONG = UNREADABLE + per_mille(1)


class Prefix(NamedTuple):
    """The digits with which a number begins, and 64 spellings of the whole number.

    A spelling is a format text with three `%s` for the last seven digits: 3, 2 and 2 of them.
    """

    digits: str
    spellings: list[str]


# A spelling → how many of 64 numbers are written like this.
MOBILE = {
    "8{area}%s%s%s": 18,
    "+7{area}%s%s%s": 8,
    "7{area}%s%s%s": 7,
    "+7 ({area}) %s-%s-%s": 7,
    "{area}%s%s%s": 4,
    "8-{area}-%s-%s-%s": 2,
    "8 ({area}) %s-%s-%s": 2,
    "8 {area} %s %s %s": 1,
    "8.{area}.%s.%s.%s": 1,
    "+7({area})%s%s%s": 1,
    "8({area})%s-%s-%s": 1,
    "7 {area} %s-%s-%s": 1,
    "{area}-%s-%s-%s": 1,
    "7{area}%s%s%s.0": 1,
    "'7{area}%s%s%s": 1,
    '="7{area}%s%s%s"': 1,
    "tel:+7{area}%s%s%s": 1,
    "+7 8 {area} %s %s %s": 1,
    "+7 +7 {area} %s %s %s": 1,
    "007 {area} %s %s %s": 1,
    "8 10 7 {area} %s %s %s": 1,
    "+7\u00a0{area}\u00a0%s\u2013%s\u2013%s": 1,
    "+7 {area}\u00ad%s%s%s;": 1,
}
# A Russian landline: its ten digits do not begin with 9, so it is never written without 7 or 8.
LANDLINE = {
    "8{area}%s%s%s": 24,
    "+7 ({area}) %s-%s-%s": 20,
    "7{area}%s%s%s": 12,
    "8 ({area}) %s-%s-%s": 8,
}
FOREIGN = {
    "+{code}{area}%s%s%s": 24,
    "{code}{area}%s%s%s": 24,
    "+{code} ({area}) %s-%s-%s": 8,
    "+{code} {area} %s %s %s": 4,
    "{code}.{area}.%s.%s.%s": 2,
    "+{code}-{area}-%s-%s-%s": 2,
}

MOBILE_AREAS = ["907", "935", "972", "973", "974", "975", "976", "979"]
# Calling code and area → how many of 512 numbers are there. None has eleven digits that begin with 8, because the
# phone rule reads those as Russian.
ABROAD = {
    "375 19": 4,
    "380 19": 3,
    "998 19": 3,
    "996 19": 1,
    "65 19": 1,
    "1 155": 1,
    "501 1": 1,
    "86 19012": 1,
    "49 019012": 1,
}
# A city in Russia, and Kazakhstan, which has the same calling code.
DOMESTIC = {"7 305": 5, "7 739": 5}


def prefix(beginning: str, spellings: dict[str, int]) -> Prefix:
    code, area = beginning.split()
    filled = [spelling.format(code=code, area=area) for spelling, times in spellings.items() for _ in range(times)]
    return Prefix(code + area, filled)


def prefixes() -> list[Prefix]:
    rare = [prefix(beginning, FOREIGN) for beginning, times in ABROAD.items() for _ in range(times)]
    rare += [prefix(beginning, LANDLINE) for beginning, times in DOMESTIC.items() for _ in range(times)]
    mobile = [prefix(f"7 {area}", MOBILE) for area in MOBILE_AREAS]
    return rare + [mobile[position % len(mobile)] for position in range(512 - len(rare))]


PREFIXES = prefixes()

NO_PHONES = [None, None, None, "", "", " ", "   "]

UNREADABLE_PHONES = [
    "907{own:.6}O",
    "8907{own:.6}З",
    "8907{own} Ольга",
    "8907{own} доб. 12",
    "+7 (907) {own:.3}-XX-XX",
    "8907{own}, 8935{own}",
    "8907{own}; +7935{own}",
    "+7 (907) {own} (12)",
    "8_907_{own}",
    "#907{own}",
    "нет",
    "Не помнит",
    "звонить мужу",
    "тел. 8907{own}",
    "-",
    "+7",
    "{own}",
    "8907{own:.6}",
    "{own:.3}-{own:.2}-11 {own:.3}-{own:.2}-12",
    "8907{own}{own:.5}",
    "+7 (907) {own} {own:.6}",
    "0907{own}",
    "00007907{own}",
    "210907{own}",
    "+969 19 {own}",
    "00000000000",
]

OVERLONG_PHONES = [
    "8907{own}" * 6,
    "8907{own} звонить только после шести вечера, спросить хозяйку, по выходным не беспокоить",
    "+7 (907) {own}, " * 5,
    "0" * 64 + "{own}",
]


def own_digits(seed: int, row: int) -> str:
    """The seven digits that end the phone of a row. No other row below SUBSCRIBERS has the same ones with this seed.

    This is because 6,180,339 has no divisor in common with 10.
    """
    return f"{(row * 6_180_339 + seed * 7_919) % SUBSCRIBERS:07d}"


def spell(prefix: Prefix, own: str, draws: Draws) -> str:
    return prefix.spellings[draws.spelling & 63] % (own[:3], own[3:5], own[5:])


def unusable_phone(own: str, draws: Draws) -> str | None:
    if draws.phone < NO_PHONE:
        return NO_PHONES[draws.spelling % len(NO_PHONES)]
    texts = UNREADABLE_PHONES if draws.phone < UNREADABLE else OVERLONG_PHONES
    return texts[draws.spelling % len(texts)].format(own=own)
