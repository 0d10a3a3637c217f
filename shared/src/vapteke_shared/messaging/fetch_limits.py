"""Limits the decompressed size of a fetch from Kafka: 400 MiB of zeros are a few kilobytes on the wire.

aiokafka decompresses whole batches, but Kafka's own limits apply to compressed batches. So, after `install`, the bytes
of a fetch are checked before aiokafka reads them. A batch that decompresses to more than MAX_BYTES, or that cannot be
decompressed, is replaced by one record that no consumer can understand and whose text says why. All records of that
batch are lost to the consumer. Our own records have at most 1 MB.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from prometheus_client import Counter

from vapteke_shared.process import logs

MAX_BYTES = 4 * 1024 * 1024
"""The decompressed size of one partition's records in one fetch; further records come with the next fetch.

Python objects take more memory: a header of two bytes takes 72. A record full of such headers takes 150 MiB, and a
consumer with it still fits into its container.
"""
_PREFIX = struct.Struct(">qiibI")  # base offset, length, leader epoch, magic, CRC
# attributes, last offset delta, two timestamps, producer's id, epoch, sequence, count
_REST = struct.Struct(">hiqqqhii")
_BATCH_BYTES = _PREFIX.size + _REST.size
_LENGTH_OFFSET = 8
_AFTER_LENGTH = 12  # the leader epoch; the length counts the bytes from here
_AFTER_CRC = 21  # the attributes; the CRC covers the bytes from here
_XERIAL, _XERIAL_BYTES = b"\x82SNAPPY\x00", 16
_NO_CODEC, _CODEC, _TRANSACTIONAL = 0, 0x07, 0x10

log = logs.get(__name__)
replaced_batches = Counter(
    "vapteke_oversized_batches", "Kafka batches that were replaced because they are too large when decompressed"
)
_buffer = bytearray(MAX_BYTES)


class _Batch(NamedTuple):
    """A batch of records as Kafka sends it, in message format 2, which every Kafka since 0.11 uses."""

    base_offset: int
    leader_epoch: int
    attributes: int
    last_offset_delta: int
    timestamp: int
    producer: tuple[int, int, int]
    """Id, epoch, sequence."""
    records: int
    data: memoryview

    @property
    def packed(self) -> memoryview:
        return self.data[_BATCH_BYTES:]


def bounded(data: bytes) -> bytes:
    """The bytes of a fetch, cut after the batches whose decompressed sizes add up to at most MAX_BYTES.

    What is cut off comes with the next fetch. The first batch is always kept. A batch that is too large by itself, or
    that cannot be decompressed, is replaced.
    """
    kept, begin, total = bytearray(), 0, 0
    view = memoryview(data)
    while (end := _end(view, begin)) is not None:
        batch, size = _checked(view[begin:end])
        if kept and total + size > MAX_BYTES:
            return bytes(kept)
        kept += batch
        begin, total = end, total + size
    return data if kept == view[:begin] else bytes(kept) + bytes(view[begin:])


def _end(view: memoryview, begin: int) -> int | None:
    """The index after the last byte of the batch that starts at `begin`. None when the batch is incomplete.

    Kafka may cut off a fetch anywhere.
    """
    if len(view) < begin + _AFTER_LENGTH:
        return None
    end: int = begin + _AFTER_LENGTH + struct.unpack_from(">i", view, begin + _LENGTH_OFFSET)[0]
    return end if end <= len(view) else None


def _checked(data: memoryview) -> tuple[memoryview | bytes, int]:
    """The bytes of the batch or of its replacement, and how large they are when decompressed.

    A batch that was damaged in transit is not replaced: aiokafka reports it and fetches it again.
    """
    base_offset, _, leader_epoch, magic, crc = _PREFIX.unpack_from(data)
    if magic != 2:
        return data, len(data)
    attributes, delta, timestamp, _, producer_id, epoch, sequence, records = _REST.unpack_from(data, _PREFIX.size)
    if not attributes & _CODEC:
        return data, len(data)
    producer = producer_id, epoch, sequence
    batch = _Batch(base_offset, leader_epoch, attributes, delta, timestamp, producer, records, data)
    size = _size(batch)
    if size is not None:
        return data, size
    if calc_crc32c(bytes(data[_AFTER_CRC:])) != crc:  # damaged in transit: aiokafka reports it and fetches it again
        return data, len(data)
    marker = _marker(batch)
    return marker, len(marker)


def _size(batch: _Batch) -> int | None:
    """The decompressed size of a batch. None when it exceeds MAX_BYTES or the batch cannot be decompressed."""
    try:
        size = _SIZES[batch.attributes & _CODEC](batch.packed)
    except (cramjam.DecompressionError, zlib.error, ValueError, KeyError, struct.error):
        return None
    return size if size <= MAX_BYTES else None


def _gzip(packed: memoryview) -> int:
    unpacking = zlib.decompressobj(wbits=31)
    size = len(unpacking.decompress(packed, MAX_BYTES + 1))
    if unpacking.unused_data:  # a second gzip member, which aiokafka would decompress as well
        raise ValueError
    return size


def _snappy(packed: memoryview) -> int:
    """The decompressed size of a plain snappy block, or of the blocks that Java's snappy library writes.

    In the Java format, the compressed length of a block comes before each block.
    """
    if packed[: len(_XERIAL)] != _XERIAL:
        return _snappy_block(packed)
    size, begin = 0, _XERIAL_BYTES
    while begin < len(packed) and size <= MAX_BYTES:
        (length,) = struct.unpack_from(">i", packed, begin)
        if length <= 0:
            raise ValueError
        size += _snappy_block(packed[begin + 4 : begin + 4 + length])
        begin += 4 + length
    return size


def _snappy_block(packed: memoryview) -> int:
    """The decompressed size of a snappy block.

    The block begins with a stated size. If that is above MAX_BYTES, it is the result. Otherwise the block is
    decompressed to find the true size.
    """
    size = int(cramjam.snappy.decompress_raw_len(packed))
    return size if size > MAX_BYTES else int(cramjam.snappy.decompress_raw_into(packed, _buffer))


_SIZES: dict[int, Callable[[memoryview], int]] = {
    1: _gzip,
    2: _snappy,
    3: lambda packed: int(cramjam.lz4.decompress_into(packed, _buffer)),
    4: lambda packed: int(cramjam.zstd.decompress_into(packed, _buffer)),
}


def _marker(batch: _Batch) -> bytes:
    """The bytes that replace a batch: one record at the batch's last offset, with a value that says why.

    The value is neither an event nor null. The replacement is also counted and logged.
    """
    last = batch.base_offset + batch.last_offset_delta
    replaced_batches.inc()
    log.error(
        "records skipped: they are too large when decompressed",
        offset=batch.base_offset,
        records=batch.records,
        packed_bytes=len(batch.packed),
    )
    text = f"offsets {batch.base_offset} to {last} are skipped: decompressed they have more than {MAX_BYTES} bytes"
    is_transactional = int(bool(batch.attributes & _TRANSACTIONAL))
    builder = DefaultRecordBatchBuilder(2, _NO_CODEC, is_transactional, *batch.producer, batch_size=1024)
    builder.append(batch.last_offset_delta, batch.timestamp, None, text.encode(), [])
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, batch.base_offset)
    struct.pack_into(">i", built, _AFTER_LENGTH, batch.leader_epoch)
    return bytes(built)


def install() -> None:
    """Limit the fetches of all aiokafka consumers in this process. Safe to repeat."""
    fetcher.MemoryRecords = lambda data: MemoryRecords(bounded(data) if data else data)
