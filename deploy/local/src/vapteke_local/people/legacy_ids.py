"""The ids of made-up people: ascending with gaps, in runs of 64 rows with a step of 1 to 31."""

RUN = 64
RUN_IDS = 12_800


def legacy_id(seed: int, row: int) -> int:
    run, position = divmod(row, RUN)
    mixed = (run * 2_654_435_761 + seed * 97_561) >> 5
    start = mixed % (RUN_IDS - RUN * 31)
    return 1 + run * RUN_IDS + start + position * (1 + mixed % 31)
