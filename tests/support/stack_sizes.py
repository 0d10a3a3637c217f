"""The two sizes at which the tests of whole imports run: small in `make test`, and full in `make prove`."""

from typing import NamedTuple

SEED = 5


class Size(NamedTuple):
    customers: int
    rows_per_range: int
    gone: int
    """More than half of 1 % of the customers, which is the limit of deletions in a day."""
    back: int
    meanwhile: int
    """Rows that change while an import runs."""
    schedule: str


SHORT = Size(3_000, 500, gone=20, back=5, meanwhile=50, schedule="every 1s")
FULL = Size(78_553, 10_000, gone=500, back=100, meanwhile=1_000, schedule="every 5s")
