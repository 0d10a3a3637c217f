"""Characters by their Unicode general category."""

from itertools import chain
from typing import Final
from unicodedata import category

# Planes with nothing but letters are left out: reading a million characters would slow down every start.
_READ: Final = tuple(map(chr, chain(range(0x20000), range(0xE0000, 0xE0200))))
_CATEGORIES: Final = tuple(map(category, _READ))


def of(*categories: str) -> str:
    """The characters of these categories, such as Zs or Cf, as one string.

    Categories of letters and of private-use characters are not complete, because some planes are left out.
    """
    return "".join(one for one, kind in zip(_READ, _CATEGORIES, strict=True) if kind in categories)
