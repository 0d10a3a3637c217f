"""The running services match their OpenAPI documents, for requests that Schemathesis generates."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import customers_api.tables
import databases
import favorites_api.tables
import pytest
from running_service import running_service
from tokens_for import bearer
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres.tables import Schema

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
SUPPORT = Path(__file__).parent / "support"
SERVICES = (customers_api.tables.SCHEMA, favorites_api.tables.SCHEMA)
SHORT = ("--max-examples", "12", "--seed", "1")
LONG, MINUTE = ("--max-time", "300"), ("--max-time", "60")
# a stranger's request is refused whatever it holds, and gets nothing to use afterwards
STRANGER = ("--exclude-checks", "positive_data_acceptance,ignored_auth,missing_required_header")


@pytest.fixture(scope="module", params=SERVICES, ids=lambda schema: schema.service)
async def migrated(request: pytest.FixtureRequest, postgres_server: Postgres) -> tuple[Schema, str]:
    """A service and the name of its database, to be cloned."""
    schema: Schema = request.param
    return schema, await databases.migrated(postgres_server, schema, f"{schema.name}_drawn")


@pytest.fixture
async def url(postgres_server: Postgres, migrated: tuple[Schema, str]) -> AsyncIterator[str]:
    schema, template = migrated
    async with (
        databases.cloned(postgres_server, template) as name,
        running_service(postgres_server, schema, name) as url,
    ):
        yield url


async def faults(folder: Path, url: str, *options: str) -> str:
    """What Schemathesis has to say, or nothing when all is well."""
    process = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", SUPPORT / "schemathesis.toml", "run", f"{url}/openapi.json"),
        *("--checks", "all", "--continue-on-failure", *options),
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(SUPPORT)},
        cwd=folder,  # it leaves its database of examples there
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    (folder / "said").write_bytes(output)
    return "" if process.returncode == 0 else output.decode()


async def test_with_a_token_it_keeps_its_word(tmp_path: Path, url: str) -> None:
    said = await faults(tmp_path, url, *SHORT, "--header", f"Authorization: {bearer()['Authorization']}")

    assert not said, said


async def test_a_stranger_is_refused_in_order(tmp_path: Path, url: str) -> None:
    said = await faults(tmp_path, url, *SHORT, *STRANGER)

    assert not said, said


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_for_five_minutes_it_keeps_its_word(tmp_path: Path, url: str) -> None:
    said = await faults(tmp_path, url, *LONG, "--header", f"Authorization: {bearer()['Authorization']}")

    assert not said, said


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_for_a_minute_a_stranger_is_refused_in_order(tmp_path: Path, url: str) -> None:
    said = await faults(tmp_path, url, *MINUTE, *STRANGER)

    assert not said, said
