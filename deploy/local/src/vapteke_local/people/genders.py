"""The genders of made-up people in many spellings: tables of 65,536 slots for men and for women.

For each person, a 16-bit draw picks a slot. The first slots hold texts that the services do not accept as a gender. The
next ones hold None (25 % of all), empty and blank texts. The rest hold spellings of the gender.
"""

from itertools import cycle, islice

from vapteke_local.people.random_draws import SLOTS, UNUSABLE, per_mille

UNKNOWN_GENDERS = ["?", "0", "3", "х", "М/Ж", "мж", "unknown", "не указан", "нет", "девочка", "N", "-"]
MEN = {
    "М": 6,
    "M": 2,
    "m": 1,
    "м": 1,
    "муж": 2,
    "муж.": 1,
    "Муж.": 1,
    "мужской": 1,
    "МУЖСКОЙ": 1,
    "male": 1,
    "Male": 1,
    "1": 1,
}
WOMEN = {
    "Ж": 6,
    "F": 2,
    "f": 1,
    "ж": 1,
    "жен": 2,
    "жен.": 1,
    "Жен.": 1,
    "женский": 1,
    "ЖЕНСКИЙ": 1,
    "female": 1,
    "Female": 1,
    "2": 1,
}


def genders(shares: dict[str, int]) -> list[str | None]:
    spellings = [spelling for spelling, times in shares.items() for _ in range(times)]
    unknown = islice(cycle(UNKNOWN_GENDERS), UNUSABLE["gender"])
    slots = [*unknown, *[None] * per_mille(250), *[""] * per_mille(20), *[" "] * per_mille(5)]
    return [*slots, *islice(cycle(spellings), SLOTS - len(slots))]


GENDERS = (genders(MEN), genders(WOMEN))
