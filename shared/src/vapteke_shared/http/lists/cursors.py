"""Cursors: where the next page of a list begins. The signature of a cursor covers the list's filters."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

_POSITION = struct.Struct(">QQ")
_SIGNATURE_BYTES = 14  # with the position it fills base64 without padding
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Position(NamedTuple):
    """Where a page begins: after the row whose id is `after`, which is 0 for the first page.

    `until` is for callers who follow changes, and 1970 for others: the first page of the list included every change up
    to this millisecond. The endpoint sets it for the first page, and the later pages keep it.
    """

    after: int
    until: datetime = _EPOCH


class CursorInvalid(ValueError):
    """The text is not a cursor, it belongs to other filters, or none of our keys has signed it."""


def encode(position: Position, filters: Mapping[str, Any], key: bytes) -> str:
    packed = _POSITION.pack(position.after, (position.until - _EPOCH) // timedelta(milliseconds=1))
    return urlsafe_b64encode(packed + _signature(packed, filters, key)).decode()


def decode(text: str, filters: Mapping[str, Any], keys: Iterable[bytes]) -> Position:
    """The position in the cursor `text`.

    Raises CursorInvalid unless the cursor was made for the same filters and signed with one of the keys.
    """
    try:
        after, milliseconds = _POSITION.unpack_from(urlsafe_b64decode(text))
        position = Position(after, _EPOCH + timedelta(milliseconds=milliseconds))
    except (ValueError, OverflowError, struct.error):
        raise CursorInvalid from None
    if text not in [encode(position, filters, key) for key in keys]:
        raise CursorInvalid
    return position


def _signature(packed: bytes, filters: Mapping[str, Any], key: bytes) -> bytes:
    """The signature of a position and the list's filters.

    The signature needs the secret `key`. Otherwise a phone among the filters could be found by trying all phones.
    """
    signed = packed + msgspec.json.encode(filters, order="deterministic")
    return blake2b(signed, key=blake2b(key).digest(), person=b"cursor", digest_size=_SIGNATURE_BYTES).digest()
