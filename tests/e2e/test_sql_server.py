"""A real SQL Server, where its image can be had: an import, and what `check` says of it.

Everywhere else the stand-in serves the other tests.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping

import containers
import pyodbc
import pytest
from containers import SqlServer
from legacy_importer import connection_string
from legacy_importer.settings import LegacySettings
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people

SEED, COUNT = 5, 3_000
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(containers.why_no_sql_server() is not None, reason=str(containers.why_no_sql_server())),
]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[SqlServer]:
    with containers.sql_server() as server:
        code, _, said = await ended("-m", "vapteke_local.vaptekesync.seed", **seeding(server))
        assert code == 0, said
        yield server


@pytest.fixture(scope="module")
async def stack(server: SqlServer) -> AsyncIterator[RunningStack]:
    encrypted = {"VAPTEKESYNC_ENCRYPT": "yes", "VAPTEKESYNC_TRUST_SERVER_CERTIFICATE": "true"}
    async with running_stack(server, **encrypted) as stack:
        yield stack


def reading(server: SqlServer) -> dict[str, str]:
    return {
        "VAPTEKESYNC_HOST": server.host,
        "VAPTEKESYNC_PORT": str(server.port),
        "VAPTEKESYNC_DB": server.database,
        "VAPTEKESYNC_USER": server.user,
        "VAPTEKESYNC_PASSWORD": server.password,
        "VAPTEKESYNC_TRUST_SERVER_CERTIFICATE": "true",
    }


def seeding(server: SqlServer) -> dict[str, str]:
    more = {"VAPTEKESYNC_ADMIN_PASSWORD": server.admin_password, "SEED": str(SEED), "CUSTOMERS": str(COUNT)}
    return reading(server) | more


async def ended(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """A Python process: how it ended, its output and its errors."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **variables}, stdout=pipe, stderr=pipe
    )
    said, faults = await process.communicate()
    return await process.wait(), said.decode(), faults.decode()


async def check(server: SqlServer, changed: Mapping[str, str]) -> tuple[int, str]:
    """`legacy-importer check`: how it ended, and all that it said."""
    program = "from legacy_importer.cli import cli; cli()"
    code, said, faults = await ended("-c", program, "check", **(reading(server) | changed))
    return code, said + faults


def administer(server: SqlServer, database: str, *statements: str) -> None:
    login = {name.lower(): value for name, value in reading(server).items()}
    admin = login | {
        "vaptekesync_db": database,
        "vaptekesync_user": "sa",
        "vaptekesync_password": server.admin_password,
    }
    connection = pyodbc.connect(connection_string.build(LegacySettings(**admin)), autocommit=True)
    for statement in statements:
        cursor = connection.execute(statement)
        while cursor.nextset():  # an error of a later statement of a script is raised here
            pass
    connection.close()


async def test_imports_from_a_real_server_are_exact(stack: RunningStack) -> None:
    first, second = await stack.imported(), await stack.imported()

    assert verdict(first) == people.truth(SEED, COUNT)
    assert verdict(second) == people.truth_again(SEED, COUNT)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"VAPTEKESYNC_TRUST_SERVER_CERTIFICATE": "false"}, "VAPTEKESYNC_SSLROOTCERT"),
        ({"VAPTEKESYNC_DB": "Other"}, "has no database Other"),
        ({"VAPTEKESYNC_PASSWORD": "Wrong-1"}, "refused the login"),
        ({"VAPTEKESYNC_PORT": "9"}, "refused the connection"),
        ({"VAPTEKESYNC_TABLE": "Others"}, "dbo.Others does not exist"),
    ],
)
async def test_the_check_of_a_real_server_names_the_cause(
    server: SqlServer, changed: dict[str, str], words: str
) -> None:
    code, said = await check(server, changed)

    assert code == 1
    assert words in said


async def test_a_real_servers_indexes_views_synonyms_and_grants_are_understood(server: SqlServer) -> None:
    reader = f"[{server.user}]"
    administer(
        server,
        server.database,
        "SELECT * INTO dbo.Indexed FROM dbo.Customers",
        "CREATE UNIQUE INDEX IX ON dbo.Indexed (ID)",
        "SELECT * INTO dbo.Filtered FROM dbo.Customers",
        "CREATE UNIQUE INDEX IX ON dbo.Filtered (ID) WHERE ID > 0",
        "SELECT * INTO dbo.Denied FROM dbo.Customers",
        "CREATE UNIQUE INDEX IX ON dbo.Denied (ID)",
        "CREATE VIEW dbo.Seen AS SELECT * FROM dbo.Customers",
        "CREATE SYNONYM dbo.Same FOR dbo.Customers",
        *(f"GRANT SELECT ON dbo.{name} TO {reader}" for name in ("Indexed", "Filtered", "Denied", "Seen", "Same")),
        f"DENY SELECT ON dbo.Denied (Email) TO {reader}",
    )

    said = {name: await check(server, {"VAPTEKESYNC_TABLE": name}) for name in ("Indexed", "Filtered", "Denied")}
    view = await check(server, {"VAPTEKESYNC_TABLE": "Seen"})
    synonym = await check(server, {"VAPTEKESYNC_TABLE": "Same"})

    assert said["Indexed"][0] == 0, said
    assert "not unique" in said["Filtered"][1]
    assert said["Denied"][0] == 1
    assert "grant SELECT" in said["Denied"][1]
    assert view[0] == 0
    assert "dbo.Seen is a view" in view[1]
    assert "is a synonym" in synonym[1]


async def test_the_doctor_of_a_real_server_finds_no_fault_and_its_script_runs_twice(server: SqlServer) -> None:
    program, variables = "from legacy_importer.cli import cli; cli()", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    _, script, _ = await ended("-c", program, "doctor", "--sql", **reading(server))

    administer(server, server.database, script, script)
    _, said, _ = await ended("-c", program, "doctor", "--json", **reading(server), **variables)

    found = {finding["check"]: finding["status"] for finding in json.loads(said)}
    assert {name for name, status in found.items() if status != "ok"} == {"tls", "kafka", "topics"}
    assert found["tls"] == "warning"  # any certificate will do


async def test_a_real_database_that_is_offline_is_distinguished_from_one_that_is_not_there(server: SqlServer) -> None:
    administer(server, "master", f"ALTER DATABASE [{server.database}] SET OFFLINE WITH ROLLBACK IMMEDIATE")
    try:
        code, said = await check(server, {})
    finally:
        administer(server, "master", f"ALTER DATABASE [{server.database}] SET ONLINE")

    assert code == 1
    assert "OFFLINE" in said
