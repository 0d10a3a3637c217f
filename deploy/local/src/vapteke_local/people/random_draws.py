"""The random numbers behind made-up people: one 16-bit draw for each thing that varies in a row.

A draw is the number of one of 65,536 slots. For each field in UNUSABLE, the first slots contain the unusable values. So
one draw decides both the value of a field and whether this value is usable: it is unusable if `draw < UNUSABLE[field]`.
"""

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

SLOTS = 1 << 16


def per_mille(share: int) -> int:
    return SLOTS * share // 1000


class Draws(NamedTuple):
    phone: int
    spelling: int
    first_name: int
    last_name: int
    email: int
    mailbox: int
    birthday: int
    gender: int
    city_id: int
    day: int
    time: int
    spaces: int
    misfortune: int


UNUSABLE = {
    "first_name": per_mille(1),
    "last_name": per_mille(1),
    "email": per_mille(10),
    "birthday": per_mille(4),
    "gender": per_mille(5),
    "city_id": per_mille(1),
}
MISFORTUNE = per_mille(1)

LAYOUT = f"<{len(Draws._fields)}H"
ROWS_AT_ONCE = 4096


def draw(seed: int, count: int) -> Iterator[Draws]:
    """The draws of `count` rows. About one row in 1,000 has been made `unfortunate`.

    All come from getrandbits, whose results for a seed are the same on every machine.
    """
    source = random.Random(seed)
    for start in range(0, count, ROWS_AT_ONCE):
        size = struct.calcsize(LAYOUT) * min(ROWS_AT_ONCE, count - start)
        drawn = source.getrandbits(8 * size).to_bytes(size, "little")
        for row in map(Draws._make, struct.iter_unpack(LAYOUT, drawn)):
            yield row if row.misfortune >= MISFORTUNE else unfortunate(row)


def unfortunate(row: Draws) -> Draws:
    """A copy of the draws that picks an unusable value for every field in UNUSABLE. The phone is not one of these."""
    return row._replace(**{field: getattr(row, field) % slots for field, slots in UNUSABLE.items()})


def unusable_fields(row: Draws) -> tuple[str, ...]:
    return tuple([field for field, slots in UNUSABLE.items() if getattr(row, field) < slots])
