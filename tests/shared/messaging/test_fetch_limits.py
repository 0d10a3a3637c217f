"""What a fetch may unpack to: batches of every codec, as Kafka would send them."""

import subprocess
import sys
import tracemalloc

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from vapteke_shared.messaging.fetch_limits import MAX_BYTES, bounded

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS = pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])


def batch(codec: int, values: list[bytes], base_offset: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**30,
    )
    for offset, value in enumerate(values):
        builder.append(offset, 1_700_000_000_000, b"key", value, [])
    return base_offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def read(data: bytes) -> list[tuple[int, bytes]]:
    """Offsets and values, as aiokafka unpacks them."""
    batches = MemoryRecords(data)
    found = []
    while batches.has_next():
        each = batches.next_batch()
        assert each.validate_crc()
        found += [(record.offset, record.value) for record in each]
    return found


@CODECS
def test_a_small_batch_stays_unchanged(codec: int) -> None:
    data = batch(codec, [b"x" * 1000] * 1000) + batch(codec, [b"y"], base_offset=1000)

    assert bounded(data) == data


@CODECS
def test_a_batch_that_decompresses_to_too_much_becomes_one_record_that_says_so(codec: int) -> None:
    small, after = batch(codec, [b"small"]), batch(codec, [b"after"], base_offset=3)

    found = read(bounded(small + batch(codec, [bytes(MAX_BYTES)] * 2, base_offset=1) + after))

    text = f"offsets 1 to 2 are skipped: decompressed they have more than {MAX_BYTES} bytes"
    assert found == [(0, b"small"), (2, text.encode()), (3, b"after")]


@CODECS
def test_the_check_takes_no_more_memory_than_the_limit(codec: int) -> None:
    data = batch(codec, [bytes(20 * MAX_BYTES)])
    tracemalloc.start()

    bounded(data)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_BYTES


@CODECS
def test_batches_above_the_limit_are_left_for_the_next_fetch(codec: int) -> None:
    each = [batch(codec, [bytes(MAX_BYTES // 3)], base_offset=offset) for offset in range(5)]

    assert bounded(b"".join(each)) == each[0] + each[1]


@CODECS
def test_a_batch_that_cannot_be_decompressed_becomes_a_record_too(codec: int) -> None:
    good = batch(codec, [b"value" * 100])
    rubbish = batch(0, [b"value" * 100])
    rubbish = _signed(rubbish[:21] + good[21:23] + rubbish[23:])

    [(offset, value)] = read(bounded(rubbish))

    assert offset == 0
    assert b"are skipped" in value


def test_a_batch_damaged_on_its_way_is_not_skipped() -> None:
    data = bytearray(batch(ZSTD, [b"value" * 100]))
    data[70] ^= 0xFF

    assert bounded(bytes(data)) == bytes(data)


def test_a_second_member_of_gzip_is_counted() -> None:
    one = batch(GZIP, [b"value"])
    two = _signed(one + one[61:])

    assert b"are skipped" in read(bounded(two))[0][1]


def test_an_incomplete_batch_at_the_end_stays() -> None:
    data = batch(ZSTD, [b"value"]) + batch(ZSTD, [b"value"], base_offset=1)[:40]

    assert bounded(data) == data


READING = """
import re, sys
from pathlib import Path
from aiokafka.record.memory_records import MemoryRecords
from vapteke_shared.messaging.fetch_limits import bounded

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

before = peak()
[record] = MemoryRecords(bounded(sys.stdin.buffer.read())).next_batch()
print(len(record.headers), peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_record_of_headers_alone_leaves_room_in_a_container() -> None:
    headers = [("", b"")] * (MAX_BYTES // 2 - 100)
    builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 2**30)
    builder.append(0, 1_700_000_000_000, b"key", b"value", headers)

    ran = subprocess.run([sys.executable, "-c", READING], input=bytes(builder.build()), capture_output=True, check=True)

    read, grown_mib = map(int, ran.stdout.split())
    assert read == len(headers)
    assert grown_mib < 200  # of 384 in docker-compose.yml, of which a service has 140 before


def _signed(data: bytes) -> bytes:
    """With length and checksum as they should be."""
    checksum = calc_crc32c(data[21:]).to_bytes(4, "big")
    return data[:8] + (len(data) - 12).to_bytes(4, "big") + data[12:17] + checksum + data[21:]
