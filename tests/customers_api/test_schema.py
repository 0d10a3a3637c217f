"""The running service against its own OpenAPI document, as Schemathesis draws requests from it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from customers_api.models import SCHEMA
from running_service import running_service
from tokens_for import bearer
from vapteke_local.postgres import Postgres

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
SUPPORT = Path(__file__).parent.parent / "support"
SHORT = ("--max-examples", "12", "--seed", "1")
LONG, MINUTE = ("--max-time", "300"), ("--max-time", "60")
# a stranger's request is refused whatever it holds, and gets nothing to use afterwards
STRANGER = ("--exclude-checks", "positive_data_acceptance,ignored_auth,missing_required_header")


@pytest.fixture
async def url(postgres_server: Postgres, database_name: str) -> AsyncIterator[str]:
    async with running_service(postgres_server, SCHEMA, database_name) as url:
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
    assert await faults(tmp_path, url, *SHORT, "--header", f"Authorization: {bearer()['Authorization']}") == ""


async def test_a_stranger_is_refused_in_order(tmp_path: Path, url: str) -> None:
    assert await faults(tmp_path, url, *SHORT, *STRANGER) == ""


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_for_five_minutes_it_keeps_its_word(tmp_path: Path, url: str) -> None:
    assert await faults(tmp_path, url, *LONG, "--header", f"Authorization: {bearer()['Authorization']}") == ""


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_for_a_minute_a_stranger_is_refused_in_order(tmp_path: Path, url: str) -> None:
    assert await faults(tmp_path, url, *MINUTE, *STRANGER) == ""
