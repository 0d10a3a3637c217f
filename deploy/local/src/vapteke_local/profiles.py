"""The columns of made-up people beside id, phone and names.

As with the names, a 16-bit draw picks a slot of a table, and the first slots hold what the column cannot take.
"""

from datetime import date, datetime, time, timedelta
from itertools import cycle, islice

from vapteke_local.draws import SLOTS, UNUSABLE, Draws, per_mille
from vapteke_local.names import LOGINS

TICKS_A_DAY = 24 * 60 * 60 * 300
FIRST_DAY = date(2012, 1, 1)
DAYS = 13 * 365

NO_EMAIL = UNUSABLE["email"] + per_mille(400)
HOSTS = [
    "mail.example",
    "pochta.example.com",
    "box.example.net",
    "yashchik.example.org",
    "inbox.example.com",
    "post.example.net",
    "MAIL.EXAMPLE.COM",
    "pisma.example",
    "list-ru.example.com",
    "bk.example",
    "gm.example.com",
    "apteka.example",
    "rambl.example.org",
    "out-look.example.com",
    "home.example.net",
    "1.mail.example",
]
LONGEST_EMAIL = f"{'dlinnoe' * 9}1@{'yashchik' * 7}.{'pochta' * 10}.{'na' * 29}n.example.com"
BROKEN_EMAILS = [
    "{login}.{host}",
    "{login}@@{host}",
    "{login}@{host}@{host}",
    "{login} {turn}@{host}",
    "{login}@ {host}",
    "{login}@mail",
    "{login}..{turn}@{host}",
    "{login}@mail..{host}",
    "@{host}",
    "{login}@",
    "нет",
    "{login}@" + "pochta." * 40 + "{host}",
]

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


def birthdays() -> list[date | None]:
    slots: list[date | None] = [date(2090, 1, 1) + timedelta(days=997 * turn) for turn in range(per_mille(3))]
    # What SQL Server makes of an empty text.
    slots += [date(1900, 1, 1)] * 8
    slots += [date(1899, 12, 31) - timedelta(days=700 * turn) for turn in range(UNUSABLE["birthday"] - len(slots))]
    slots += [date(1900, 1, 2)] * 8 + [None] * per_mille(500)
    return slots + [date(1921, 1, 1) + timedelta(days=day) for day in range(SLOTS - len(slots))]


def city_ids() -> list[int | None]:
    slots: list[int | None] = [-1 - turn for turn in range(UNUSABLE["city_id"])]
    slots += [None] * per_mille(300)
    return slots + [turn % 201 for turn in range(SLOTS - len(slots))]


def days() -> list[date | None]:
    slots: list[date | None] = [None] * per_mille(200)
    return slots + [FIRST_DAY + timedelta(days=turn % DAYS) for turn in range(SLOTS - len(slots))]


def instant(tick: int) -> datetime:
    """The tick-th 1/300 s since the first day, in the whole milliseconds that SQL Server shows for it."""
    return datetime.combine(FIRST_DAY, time()) + timedelta(milliseconds=(tick * 10 + 1) // 3)


GENDERS = (genders(MEN), genders(WOMEN))
BIRTHDAYS = birthdays()
CITY_IDS = city_ids()
LAST_DAYS = days()
LAST_TIMES = [instant(slot * 395).time() for slot in range(SLOTS)]


def email(row: int, draws: Draws) -> str | None:
    login, host = LOGINS[draws.mailbox % len(LOGINS)], HOSTS[draws.mailbox >> 12]
    turn = row * 7919 % 10_007
    if draws.email < UNUSABLE["email"]:
        return BROKEN_EMAILS[draws.email % len(BROKEN_EMAILS)].format(login=login, host=host, turn=turn)
    if draws.email < NO_EMAIL:
        return (None, None, None, None, None, None, "", " ")[draws.email & 7]
    return f"{login}{turn}@{host}" if draws.mailbox >= 16 else LONGEST_EMAIL


def last_auth_at(draws: Draws) -> datetime | None:
    day = LAST_DAYS[draws.day]
    return None if day is None else datetime.combine(day, LAST_TIMES[draws.time])
