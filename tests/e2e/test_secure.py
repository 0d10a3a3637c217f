"""The whole stack with Kafka over SASL_SSL and Postgres over TLS; untrusted servers are rejected with clear errors."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import containers
import httpx
import pytest
import trustme
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from favorites_api.tables import SCHEMA
from running_stack import START_SECONDS, RunningStack, running_stack, verdict
from vapteke_local import people, vaptekesync
from vapteke_local.machine import ports
from vapteke_shared.contract import topics
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.postgres import pools
from vapteke_shared.process.connection_errors import Misconfigured
from vapteke_shared.process.settings import KafkaSettings, PostgresSettings

SEED, COUNT = 6, 500
CUSTOMERS, FAVORITES = "/rest/v1/customers/", "/rest/v1/favorites/"
UNTRUSTED = ": its certificate is not trusted (unable to get local issuer certificate): check"
OTHER_NAME = (
    ": its certificate is for another name (Hostname mismatch, certificate is not valid for 'localhost'): check"
)
NO_LOGIN = " rejects the login: check"
WRONG = "wr0ng-s3cret"
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="Postgres with TLS is there for Linux alone"),
    pytest.mark.skipif(containers.why_not() is None, reason="the containers are started without certificates"),
]

Variables = Mapping[str, str]


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    rows = [tuple(person) for person in people.generate(SEED, COUNT)]
    async with vaptekesync.serve(rows) as legacy, running_stack(legacy, "--tls", IMPORT_RANGE_ROWS="200") as stack:
        yield stack


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of an authority that has signed nothing here."""
    file = tmp_path_factory.mktemp("stranger") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(file)
    return str(file)


async def test_an_import_is_exact_and_a_second_one_writes_nothing(stack: RunningStack) -> None:
    first = await stack.imported()
    before = await stack.versions()

    second = await stack.imported()

    assert (verdict(first), verdict(second)) == (people.truth(SEED, COUNT), people.truth_again(SEED, COUNT))
    assert await stack.versions() == before


async def test_favorites_follow(stack: RunningStack) -> None:
    customer = (await stack.client.post(CUSTOMERS, json={"phone": "79021234567"})).json()
    favorite = (await stack.favorites.post(FAVORITES, json={"user_id": customer["id"], "item_id": 10})).json()

    await stack.client.delete(f"{CUSTOMERS}{customer['id']}/")
    await until_favorites(stack, customer["id"], [])
    await stack.client.post(f"{CUSTOMERS}{customer['id']}/restore/")

    await until_favorites(stack, customer["id"], [favorite])


async def until_favorites(stack: RunningStack, customer_id: int, expected: list[Any]) -> None:
    async with asyncio.timeout(60):
        while (await stack.favorites.get(FAVORITES, params={"user_id": customer_id})).json()["items"] != expected:
            await asyncio.sleep(0.05)


class Broken:
    """The variables of a service or command with some changed: `{stranger}` and `{kafka_port}` are put in."""

    def __init__(self, stack: RunningStack, command: str, stranger: str, changed: Variables) -> None:
        given = stack["variables"].get(command.split()[0], stack["variables"]["legacy-importer"])
        kafka_port = given["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2]
        put_in = {name: text.format(stranger=stranger, kafka_port=kafka_port) for name, text in changed.items()}
        self.command, self.variables = command, given | put_in

    @property
    def settings(self) -> dict[str, Any]:
        return {name.lower(): value for name, value in self.variables.items() if value}

    def text(self, side: str, what: str) -> str:
        found = self.variables
        at = {
            "Kafka": found["KAFKA_BOOTSTRAP_SERVERS"],
            "Postgres": f"{found.get('POSTGRES_HOST')}:{found.get('POSTGRES_PORT')}",
        }
        return f"{side} at {at[side]}{what}"

    @asynccontextmanager
    async def running(self, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Standard output and error are one."""
        program, *arguments = self.command.split()
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).parent / program, *arguments),
            env={**os.environ, **self.variables, **more},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def ended(self) -> tuple[int | None, str]:
        """Its exit code and last line."""
        async with asyncio.timeout(START_SECONDS), self.running(LOG_LEVEL="ERROR") as process:
            output, _ = await process.communicate()
        assert WRONG not in output.decode()
        return process.returncode, output.decode().splitlines()[-1] if output else ""

    async def until_not_ready(self, faults: Variables) -> None:
        """Until /health/ready names these."""
        port_of = {name: str(ports.free_port()) for name in ("HTTP_PORT", "METRICS_PORT")}
        url = f"http://127.0.0.1:{port_of['METRICS_PORT']}/health/ready"
        found: Variables = {}
        deadline = time.monotonic() + START_SECONDS
        async with self.running(**port_of), httpx.AsyncClient() as client:
            while not faults.items() <= found.items():
                assert time.monotonic() < deadline, (self.command, found)
                await asyncio.sleep(0.1)
                with suppress(httpx.TransportError):  # not yet listening
                    found = (await client.get(url)).json().get("faults", {})


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"KAFKA_SSL_CAFILE": "{stranger}"}, f"{UNTRUSTED} KAFKA_SSL_CAFILE"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "localhost:{kafka_port}"}, f"{OTHER_NAME} KAFKA_BOOTSTRAP_SERVERS"),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, " does not support PLAIN: check KAFKA_SASL_MECHANISM"),
    ],
    ids=["authority", "name", "mechanism"],
)
async def test_a_kafka_that_does_not_fit_is_reported(
    stack: RunningStack, stranger: str, changed: Variables, what: str
) -> None:
    broken = Broken(stack, "vapteke-topics", stranger, changed)

    with pytest.raises(Misconfigured) as failure:
        await kafka_clients.read_cluster(KafkaSettings(**broken.settings), [])

    assert str(failure.value) == broken.text("Kafka", what)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"POSTGRES_SSLROOTCERT": "{stranger}"}, f"{UNTRUSTED} POSTGRES_SSLROOTCERT"),
        ({"POSTGRES_SSLROOTCERT": "", "POSTGRES_SSLMODE": "verify-ca"}, f"{UNTRUSTED} POSTGRES_SSLROOTCERT"),
        ({"POSTGRES_SSLROOTCERT": "{stranger}", "POSTGRES_SSLMODE": "require"}, f"{UNTRUSTED} POSTGRES_SSLROOTCERT"),
        ({"POSTGRES_HOST": "localhost"}, f"{OTHER_NAME} POSTGRES_HOST"),
        (
            {"POSTGRES_SSLMODE": "disable"},
            " does not let this user in: check POSTGRES_SSLMODE, POSTGRES_USER and POSTGRES_DB, or its pg_hba.conf",
        ),
    ],
    ids=["authority", "unknown to the system", "authority though only required", "name", "no TLS"],
)
async def test_a_postgres_that_does_not_fit_is_reported(
    stack: RunningStack, stranger: str, changed: Variables, what: str
) -> None:
    broken = Broken(stack, "favorites-api", stranger, changed)

    with pytest.raises(Misconfigured) as failure:
        await is_encrypted(broken)

    assert str(failure.value) == broken.text("Postgres", what)


async def is_encrypted(broken: Broken) -> bool:
    async with pools.create_pool(PostgresSettings(**broken.settings), SCHEMA, 1) as pool:
        found: bool = await pool.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    return found


async def test_a_command_ends_at_once_and_says_what_to_check(stack: RunningStack, stranger: str) -> None:
    topics = Broken(stack, "vapteke-topics", stranger, {"KAFKA_SASL_PASSWORD": WRONG})
    migrate = Broken(stack, "customers-api migrate", stranger, {"POSTGRES_OWNER_PASSWORD": WRONG})
    reset = Broken(stack, "favorites-api offsets reset", stranger, {"POSTGRES_SSLROOTCERT": "{stranger}"})

    ends = await asyncio.gather(topics.ended(), migrate.ended(), reset.ended())

    kafka_login = topics.text("Kafka", f"{NO_LOGIN} KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
    assert ends == [
        (1, f"vapteke-topics: {kafka_login}"),
        (1, migrate.text("Postgres", f"{NO_LOGIN} POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD")),
        (1, reset.text("Postgres", f"{UNTRUSTED} POSTGRES_SSLROOTCERT")),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"POSTGRES_SSLMODE": "verify-ca", "POSTGRES_HOST": "localhost"},
        {"POSTGRES_SSLMODE": "require", "POSTGRES_SSLROOTCERT": "", "POSTGRES_HOST": "localhost"},
        {"POSTGRES_SSLMODE": "", "POSTGRES_SSLROOTCERT": ""},
    ],
    ids=["verify-ca: any name", "require: any certificate", "the default: TLS where there is any"],
)
async def test_a_laxer_mode_looks_at_less(stack: RunningStack, stranger: str, changed: Variables) -> None:
    assert await is_encrypted(Broken(stack, "favorites-api", stranger, changed))


async def test_a_service_is_not_ready_and_says_what_to_check(stack: RunningStack, stranger: str) -> None:
    changed = {"KAFKA_SSL_CAFILE": "{stranger}", "POSTGRES_PASSWORD": WRONG}
    work = Broken(stack, "customers-api work", stranger, changed)
    importer = Broken(stack, "legacy-importer work", stranger, changed)
    postgres = work.text("Postgres", f"{NO_LOGIN} POSTGRES_USER and POSTGRES_PASSWORD")
    no_kafka = f"{UNTRUSTED} KAFKA_SSL_CAFILE"

    await asyncio.gather(
        work.until_not_ready(
            {
                "postgres": postgres,
                "outbox": f"waits: {postgres}",
                "vapteke.legacy.customers.v1": work.text("Kafka", no_kafka),
            }
        ),
        importer.until_not_ready({"kafka": importer.text("Kafka", no_kafka)}),
    )


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("favorites-api", topics.CUSTOMERS.name),
        ("favorites-api", topics.LEGACY_CUSTOMERS.name),
        ("customers-api", topics.LEGACY_CUSTOMERS.name),
        ("customers-api", topics.IMPORT_PROGRESS.name),
        ("legacy-importer", topics.CUSTOMERS.name),
        ("legacy-importer", topics.IMPORT_TASKS.name),
    ],
)
async def test_a_services_user_cannot_write_what_is_not_its_business(
    stack: RunningStack, user: str, topic: str
) -> None:
    variables = stack["variables"][user]
    settings = KafkaSettings(**{name.lower(): value for name, value in variables.items() if name.startswith("KAFKA")})
    producer = AIOKafkaProducer(**kafka_clients.client_options(settings))
    await producer.start()

    with pytest.raises(TopicAuthorizationFailedError):
        await producer.send_and_wait(topic, b"forged", partition=0)

    await producer.stop()


async def test_the_doctor_may_compare_all_topics_as_the_importers_own_user(stack: RunningStack) -> None:
    doctor = Broken(stack, "legacy-importer doctor", "", {"VAPTEKESYNC_ENCRYPT": "no"})

    code, last_line = await doctor.ended()

    assert last_line.split(maxsplit=2) == ["ok", "topics", f"{len(topics.ALL)} topics are as they are declared"]
    assert code == 2  # the connection to the stand-in is not encrypted, which is a warning
