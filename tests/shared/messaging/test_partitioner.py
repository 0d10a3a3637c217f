"""The partition of a key is the one that Kafka's own clients choose."""

from aiokafka import partitioner as kafkas
from hypothesis import given
from hypothesis import strategies as st
from vapteke_shared.messaging import partitioner


@given(
    st.binary()
    | st.integers(-(2**63), 2**63 - 1).map(lambda key: str(key).encode())
    | st.uuids().map(lambda key: str(key).encode())
)
def test_the_hash_of_a_key_is_kafkas(key: bytes) -> None:
    assert partitioner.murmur2(key) == kafkas.murmur2(key)


@given(st.binary(), st.integers(1, 100))
def test_the_partition_of_a_key_is_kafkas(key: bytes, count: int) -> None:
    partitions = list(range(count))

    assert partitioner.partition_of(key, count) == kafkas.DefaultPartitioner()(key, partitions, partitions)
