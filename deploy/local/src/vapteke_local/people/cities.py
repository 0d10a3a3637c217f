"""The cities of made-up people: CITY_IDS, a table of 65,536 slots. For each person, a 16-bit draw picks a slot.

The first slots hold negative ids, which the services do not accept. The next 30 % of all slots hold None. The rest hold
the ids 0 to 200, each about equally often.
"""

from vapteke_local.people.random_draws import SLOTS, UNUSABLE, per_mille


def city_ids() -> list[int | None]:
    slots: list[int | None] = [-1 - turn for turn in range(UNUSABLE["city_id"])]
    slots += [None] * per_mille(300)
    return slots + [turn % 201 for turn in range(SLOTS - len(slots))]


CITY_IDS = city_ids()
