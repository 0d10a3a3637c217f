"""Phones that two or three made-up people share, and which of them keeps the phone.

The row with the latest last_auth_at keeps it. None is earlier than any time. Among equal times the highest id decides.
"""

import random
from datetime import datetime
from typing import NamedTuple

from vapteke_local.people.dates import DAYS, TICKS_A_DAY, instant
from vapteke_local.people.phones import PREFIXES, Prefix


class SharedPhone(NamedTuple):
    owner_row: int
    winner_row: int
    prefix: Prefix
    last_auth_at: datetime | None


# The table is cut into stretches of so many rows. Two stretches at the same distance from its ends share one phone.
STRETCH = 100


def shared_phones(seed: int, count: int) -> dict[int, SharedPhone]:
    source = random.Random(seed + (1 << 40))
    stretches = count // STRETCH
    shared: dict[int, SharedPhone] = {}
    for low in range(stretches // 2):
        starts = (low * STRETCH, (stretches - 1 - low) * STRETCH)
        shared.update(share_phone(starts, source.getrandbits(64)))
    return shared


def share_phone(starts: tuple[int, int], bits: int) -> dict[int, SharedPhone]:
    """Picks two rows, or in one case of eight three rows, that share a phone. Returns row number → SharedPhone.

    Each row is in one of two stretches of STRETCH rows, or all are in the same one. `starts` are the first rows of the
    stretches, `bits` is a random number of 64 bits.
    """
    members = [starts[bits & 1] + (bits >> 8) % 30, starts[bits >> 1 & 1] + 30 + (bits >> 16) % 35]
    if bits >> 3 & 7 == 0:
        members.append(starts[bits >> 2 & 1] + 65 + (bits >> 24) % 35)
    tick = (bits >> 12) % (DAYS * TICKS_A_DAY)
    choice = (None, None, instant(tick), instant(tick), instant(tick + 1), instant(tick // 2))
    seen = {row: choice[(bits >> 32 + 8 * position) % len(choice)] for position, row in enumerate(members)}
    winner = max(members, key=lambda row: (seen[row] or datetime.min, row))
    prefix = PREFIXES[(bits >> 40) % len(PREFIXES)]
    return {row: SharedPhone(members[0], winner, prefix, seen[row]) for row in members}
